/** Metrics of a model on labelled data, accumulated batch by batch in float64. The formulas are in families/. */

import { fitMasks } from '../data/index.ts'
import { normalizeAxis, sizeOf } from '../tensor/shape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { InputError } from '../util/errors.ts'
import { binaryCalibration, calibration } from './families/calibration.ts'
import { binaryCounts, classCounts, type ClassFigures, type PerClass } from './families/counts.ts'
import { binaryCurves, classCurves } from './families/curves.ts'
import { decisions } from './families/decisions.ts'
import { areEntityTags, entities } from './families/entities.ts'
import type { BinaryFamily, BinaryRow, ClassFamily, ClassRow, Figures } from './families/family.ts'
import { elements, samples, tokensOfText } from './families/ranking.ts'
import { Values } from './families/values.ts'

export type { ClassFigures } from './families/counts.ts'

/** What the model's output stands for; a trailing activation in the model is undone for the loss, not for the ranking. */
export type OutputKind = 'logits' | 'log_probabilities' | 'probabilities' | 'sigmoid' | 'values'

/**
 * One class of each sample; yes or no for each class; numbers; one class of each pixel, of each token; the token that
 * comes next.
 */
export type Task =
  'classification' | 'multilabel' | 'regression' | 'segmentation' | 'token-classification' | 'language-model'

/** How an output is measured. */
export interface Measure {
  readonly task: Task
  /** What the output holds. */
  readonly kind: OutputKind
  /** The axis of the classes; default 1. */
  readonly axis?: number
  /** Yes-no decisions: whether each position has one, not each class. */
  readonly single?: boolean
  /** Whether targets are masks [N,H,W], of which those pixels count that lie nearest to the positions of the output. */
  readonly mask?: boolean
  /** Targets of this class count nothing; default -100. */
  readonly ignoreIndex?: number
  /** Class names; entity tags (B-PER, I-PER, O) among them give the F1 of entities. */
  readonly classes?: readonly string[] | null
}

/** What was measured, by name; score.ts says what the names mean. Of the second output and those after it, `output.name`. */
export interface Metrics {
  readonly samples: number
  /** Mean loss: cross-entropy, binary cross-entropy or squared error; of several outputs their weighted sum. */
  readonly loss: number
  readonly top1?: number
  readonly top5?: number
  readonly accuracy?: number
  readonly mae?: number
  readonly [name: string]: number
}

/** Feeds one output's rows to the families of its task. */
interface Accumulator {
  add(output: ArrayLike<number>, dims: readonly number[], targets: Tensor, count: number): void
  figures(): Figures
  perClass(): readonly (ClassFigures | null)[] | null
}

/** Accumulates metrics over batches. */
export class MetricsAccumulator {
  readonly #measure: Measure
  /** Made with the first batch, which says how many classes there are. */
  #inner: Accumulator | null = null
  #samples = 0

  constructor(measure: Measure) {
    this.#measure = measure
  }

  /**
   * Adds the first `count` samples of a batch. Classes: output [N,C], [N,C,d...] or, by the measure's axis, [N,d...,C];
   * targets int64 [N] or [N,d...].
   */
  add(output: Tensor, targets: Tensor, count: number): void {
    const numbers = output.dtype === 'float32' ? (output.view() as Float32Array) : output.toNumbers()
    this.#inner ??= open(this.#measure, output.dims)
    this.#inner.add(numbers, output.dims, this.#fit(targets, output.dims), count)
    this.#samples += count
  }

  #fit(targets: Tensor, dims: readonly number[]): Tensor {
    const { mask = false, task, axis = 1 } = this.#measure
    if (!mask) return targets
    const decisions = task === 'multilabel'
    return fitMasks(targets, (decisions ? dims : dims.toSpliced(axis, 1)).slice(1), decisions)
  }

  /** The metrics of everything added. */
  result(): Metrics {
    if (this.#inner === null || this.#samples === 0)
      throw new InputError('evaluate: no sample has a target, nothing was measured')
    return { samples: this.#samples, ...this.#inner.figures() } as Metrics
  }

  /** By class: precision, recall, F1, IoU; null for tasks without classes, entries null for classes that never occur. */
  perClass(): readonly (ClassFigures | null)[] | null {
    return this.#inner?.perClass() ?? null
  }
}

/** The accumulator of a task. */
function open(measure: Measure, dims: readonly number[]): Accumulator {
  if (measure.task === 'regression') return regression(dims)
  if (measure.task === 'multilabel') return new BinaryAccumulator(measure, dims)
  return new ClassAccumulator(measure, dims)
}

/** The families of the tasks whose outputs are classes. */
const CLASS_FAMILIES: Readonly<
  Record<Exclude<Task, 'multilabel' | 'regression'>, (classes: number, measure: Measure) => ClassFamily[]>
> = {
  classification: classes => [
    samples(classes),
    classCounts(classes, false),
    classCurves(classes),
    calibration(),
  ],
  segmentation: classes => [elements(), classCounts(classes, true), calibration()],
  'token-classification': (classes, { classes: names }) => [
    elements(),
    classCounts(classes, false),
    ...(names && areEntityTags(names) ? [entities(names)] : []),
    calibration(),
  ],
  'language-model': () => [tokensOfText()],
}

class ClassAccumulator implements Accumulator {
  readonly #kind: OutputKind
  readonly #ignoreIndex: number
  readonly #axis: number
  readonly #classes: number
  /** 1 where the output at one position is about the target of the next. */
  readonly #shift: number
  readonly #families: readonly ClassFamily[]
  readonly #row: ClassRow
  readonly #wantsProbabilities: boolean

  constructor(measure: Measure, dims: readonly number[]) {
    const { task, kind, ignoreIndex = -100, axis = 1 } = measure
    this.#axis = dims.length < 2 ? -1 : normalizeAxis(axis, dims.length, 'evaluate')
    this.#classes = dims[this.#axis] ?? 0
    this.#kind = kind
    this.#ignoreIndex = ignoreIndex
    this.#shift = Number(task === 'language-model')
    this.#families = CLASS_FAMILIES[task as keyof typeof CLASS_FAMILIES](this.#classes, measure)
    this.#wantsProbabilities = this.#families.some(family => family.wantsProbabilities)
    const probabilities = new Float64Array(this.#classes)
    this.#row = { label: 0, predicted: 0, above: 0, logProbability: 0, confidence: 0, probabilities }
  }

  add(output: ArrayLike<number>, dims: readonly number[], targets: Tensor, count: number): void {
    const axis = this.#axis
    if (axis < 0 || dims[0]! < count) {
      throw new InputError(
        `evaluate: a classifier's output should be [N,C,...] with N >= ${count}, found [${dims.join()}]`,
      )
    }
    const [outer, inner] = [sizeOf(dims.slice(1, axis)), sizeOf(dims.slice(axis + 1))]
    const positions = outer * inner
    if (targets.size < count * positions) {
      throw new InputError(
        `evaluate: the model's output [${dims.join()}] takes ${positions} targets of each sample, the data have ${targets.size / count}`,
        { cure: 'measure another output with --output, or use data with as many targets' },
      )
    }
    const labels = targets.toNumbers()
    for (let n = 0; n < count; n++) {
      for (let position = 0; position < positions - this.#shift; position++) {
        const label = labels[n * positions + position + this.#shift]!
        if (label === this.#ignoreIndex) continue
        this.#check(label)
        const [o, i] = [Math.floor(position / inner), position % inner]
        this.#addRow(output, (n * outer + o) * this.#classes * inner + i, inner, label)
      }
      for (const family of this.#families) family.endSample?.()
    }
  }

  figures(): Figures {
    return Object.assign({}, ...this.#families.map(family => family.figures())) as Figures
  }

  perClass(): readonly (ClassFigures | null)[] | null {
    return perClassOf(this.#families)
  }

  #check(label: number): void {
    if (label >= 0 && label < this.#classes) return
    throw new InputError(`evaluate: target class ${label} is outside the model's ${this.#classes} classes`, {
      cure: 'check that the data has the classes the model was made for',
    })
  }

  #addRow(output: ArrayLike<number>, start: number, stride: number, label: number): void {
    const row = this.#row
    const own = output[start + label * stride]!
    let max = -Infinity
    row.label = label
    row.predicted = 0
    row.above = 0
    for (let c = 0; c < this.#classes; c++) {
      const value = output[start + c * stride]!
      if (value > max) {
        max = value
        if (row.predicted >= 0) row.predicted = c
      }
      if (Number.isNaN(value)) row.predicted = -1
      // Ties are ranked by index, so that a constant output is not right for every class. NaN ranks above everything.
      if (value > own || Number.isNaN(value) || (value === own && c < label)) row.above++
    }
    this.#setProbabilities(output, start, stride, own, max)
    for (const family of this.#families) family.add(row)
  }

  #setProbabilities(
    output: ArrayLike<number>,
    start: number,
    stride: number,
    own: number,
    max: number,
  ): void {
    const row = this.#row
    let probability = (value: number) => value
    if (this.#kind === 'probabilities') {
      row.logProbability = Math.log(Math.max(own, Number.MIN_VALUE))
    } else if (this.#kind === 'log_probabilities') {
      row.logProbability = own
      probability = Math.exp
    } else {
      let total = 0
      for (let c = 0; c < this.#classes; c++) total += Math.exp(output[start + c * stride]! - max)
      row.logProbability = own - max - Math.log(total)
      probability = value => Math.exp(value - max) / total
    }
    row.confidence = probability(max)
    if (!this.#wantsProbabilities) return
    for (let c = 0; c < this.#classes; c++) row.probabilities[c] = probability(output[start + c * stride]!)
  }
}

class BinaryAccumulator implements Accumulator {
  readonly #kind: OutputKind
  readonly #columns: number
  readonly #families: readonly BinaryFamily[]
  readonly #row: BinaryRow = { column: 0, target: 0, output: 0, probability: 0, yes: false, loss: 0 }

  constructor({ kind, single = false }: Measure, dims: readonly number[]) {
    this.#kind = kind
    this.#columns = single ? 1 : (dims[1] ?? 1)
    const dense = sizeOf(dims.slice(1)) > this.#columns
    this.#families = [
      decisions(),
      binaryCounts(this.#columns, dense),
      ...(dense ? [] : [binaryCurves(this.#columns)]),
      ...(this.#columns === 1 ? [binaryCalibration()] : []),
    ]
  }

  add(output: ArrayLike<number>, dims: readonly number[], targets: Tensor, count: number): void {
    const wanted = targets.toNumbers()
    checkCount(dims, wanted.length, count)
    const inner = sizeOf(dims.slice(1)) / this.#columns
    for (let i = 0; i < wanted.length; i++) {
      const column = Math.floor(i / inner) % this.#columns
      this.#addRow(column, output[i]!, wanted[i]!)
    }
  }

  figures(): Figures {
    return Object.assign({}, ...this.#families.map(family => family.figures())) as Figures
  }

  perClass(): readonly (ClassFigures | null)[] | null {
    return perClassOf(this.#families)
  }

  #addRow(column: number, output: number, target: number): void {
    const row = this.#row
    row.column = column
    row.target = target
    row.output = output
    if (this.#kind === 'sigmoid') {
      const floor = (p: number) => Math.log(Math.max(p, Number.MIN_VALUE))
      row.probability = output
      row.yes = output > 0.5
      row.loss = -target * floor(output) - (1 - target) * floor(1 - output)
    } else {
      row.probability = 1 / (1 + Math.exp(-output))
      row.yes = output > 0
      row.loss = Math.max(output, 0) - output * target + Math.log1p(Math.exp(-Math.abs(output)))
    }
    for (const family of this.#families) family.add(row)
  }
}

function regression(dims: readonly number[]): Accumulator {
  const columns = sizeOf(dims.slice(1))
  const values = new Values(columns)
  return {
    add: (output, dims, targets, count) => {
      const wanted = targets.toNumbers()
      checkCount(dims, wanted.length, count)
      if (sizeOf(dims.slice(1)) !== columns) {
        throw new InputError(
          `evaluate: the model gave ${columns} values for a sample, now it gives ${sizeOf(dims.slice(1))}`,
        )
      }
      values.add(output, wanted, count)
    },
    figures: () => values.figures(),
    perClass: () => null,
  }
}

function checkCount(dims: readonly number[], targets: number, count: number): void {
  const given = sizeOf(dims.slice(1))
  if ((dims[0] ?? 0) >= count && targets === given * count) return
  throw new InputError(
    `evaluate: the model gives ${given} values for each sample, the data have ${targets / count} targets`,
    {
      cure: 'choose a --loss and --target-kind that fit the targets, measure another output with --output, or use data with as many targets',
    },
  )
}

function perClassOf(families: readonly object[]): readonly (ClassFigures | null)[] | null {
  const family = families.find((family): family is PerClass => 'perClass' in family)
  return family?.perClass() ?? null
}
