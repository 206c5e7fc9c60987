/** Metrics of a model on labelled data, accumulated batch by batch in float64. */

import { InputError } from '../util/errors.ts'
import { sizeOf } from '../tensor/shape.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** What the model's output stands for; a trailing activation in the model is undone for the loss, not for the ranking. */
export type OutputKind = 'logits' | 'log_probabilities' | 'probabilities' | 'sigmoid' | 'values'

export type Task = 'classification' | 'multilabel' | 'regression'

export interface Metrics {
  readonly samples: number
  /** Mean loss: cross-entropy, binary cross-entropy or squared error. */
  readonly loss: number
  /** Share of samples whose highest output is the target class. */
  readonly top1?: number
  /** Share whose target is among the five highest (with more than five classes). */
  readonly top5?: number
  /** Multi-label: share of right yes/no decisions. */
  readonly accuracy?: number
  /** Regression: mean absolute error. */
  readonly mae?: number
}

interface Sums {
  loss: number
  top1: number
  top5: number
  right: number
  absolute: number
  elements: number
  samples: number
}

/** Accumulates metrics over batches. */
export class MetricsAccumulator {
  readonly #task: Task
  readonly #kind: OutputKind
  readonly #ignoreIndex: number
  readonly #sums: Sums = { loss: 0, top1: 0, top5: 0, right: 0, absolute: 0, elements: 0, samples: 0 }
  #classes = 0

  constructor(task: Task, kind: OutputKind, ignoreIndex = -100) {
    this.#task = task
    this.#kind = kind
    this.#ignoreIndex = ignoreIndex
  }

  /** Adds one batch. Classification: output [N,C] or [N,C,d...], targets int64 [N] or [N,d...]. */
  add(output: Tensor, targets: Tensor, count: number): void {
    const numbers = output.dtype === 'float32' ? (output.view() as Float32Array) : output.toNumbers()
    if (this.#task === 'classification') this.#addClasses(numbers, output.dims, targets, count)
    else this.#addElements(numbers, output.dims, targets, count)
  }

  /** The metrics of everything added. */
  result(): Metrics {
    const sums = this.#sums
    if (sums.samples === 0) throw new InputError('evaluate: no sample has a target, nothing was measured')
    const share = (sum: number) => sum / sums.elements
    const { samples } = sums
    if (this.#task === 'regression') return { samples, loss: share(sums.loss), mae: share(sums.absolute) }
    if (this.#task === 'multilabel') return { samples, loss: share(sums.loss), accuracy: share(sums.right) }
    const ranked = { samples, loss: share(sums.loss), top1: share(sums.top1) }
    return this.#classes > 5 ? { ...ranked, top5: share(sums.top5) } : ranked
  }

  #addClasses(output: ArrayLike<number>, dims: readonly number[], targets: Tensor, count: number): void {
    const [batch, classes, ...rest] = dims
    if (batch === undefined || classes === undefined || batch < count) {
      throw new InputError(
        `evaluate: a classifier's output should be [N,C,...] with N >= ${count}, found [${dims.join()}]`,
      )
    }
    const inner = sizeOf(rest)
    const labels = targets.toNumbers()
    if (labels.length !== targets.size || targets.size < count * inner) {
      throw new InputError(
        `evaluate: the model's output [${dims.join()}] takes ${inner} targets of each sample, the data have ${targets.size / count}`,
        { cure: 'measure another output with --output, or use data with as many targets' },
      )
    }
    this.#classes = classes
    this.#sums.samples += count
    for (let n = 0; n < count; n++) {
      for (let i = 0; i < inner; i++) {
        const label = labels[n * inner + i]!
        if (label === this.#ignoreIndex) continue
        if (label < 0 || label >= classes) {
          throw new InputError(`evaluate: target class ${label} is outside the model's ${classes} classes`, {
            cure: 'check that the data has the classes the model was made for',
          })
        }
        this.#addRow(output, n * classes * inner + i, classes, inner, label)
      }
    }
  }

  #addRow(output: ArrayLike<number>, start: number, classes: number, stride: number, label: number): void {
    const own = output[start + label * stride]!
    let max = -Infinity
    let higher = 0
    for (let c = 0; c < classes; c++) {
      const value = output[start + c * stride]!
      if (value > max) max = value
      // Ties are ranked by index, so that a constant output is not right for every class. NaN ranks above everything.
      if (value > own || Number.isNaN(value) || (value === own && c < label)) higher++
    }
    const sums = this.#sums
    sums.elements++
    sums.top1 += Number(higher === 0)
    sums.top5 += Number(higher < 5)
    if (this.#kind === 'probabilities') sums.loss -= Math.log(Math.max(own, Number.MIN_VALUE))
    else if (this.#kind === 'log_probabilities') sums.loss -= own
    else {
      let total = 0
      for (let c = 0; c < classes; c++) total += Math.exp(output[start + c * stride]! - max)
      sums.loss += max + Math.log(total) - own
    }
  }

  #addElements(output: ArrayLike<number>, dims: readonly number[], targets: Tensor, count: number): void {
    const wanted = targets.toNumbers()
    const given = sizeOf(dims.slice(1))
    if ((dims[0] ?? 0) < count || wanted.length !== given * count) {
      throw new InputError(
        `evaluate: the model gives ${given} values for each sample, the data have ${wanted.length / count} targets`,
        {
          cure: 'choose a --loss and --target-kind that fit the targets, measure another output with --output, or use data with as many targets',
        },
      )
    }
    const sums = this.#sums
    sums.samples += count
    sums.elements += wanted.length
    for (let i = 0; i < wanted.length; i++) {
      const y = output[i]!
      const t = wanted[i]!
      if (this.#task === 'regression') {
        sums.loss += (y - t) ** 2
        sums.absolute += Math.abs(y - t)
      } else if (this.#kind === 'sigmoid') {
        sums.loss -=
          t * Math.log(Math.max(y, Number.MIN_VALUE)) + (1 - t) * Math.log(Math.max(1 - y, Number.MIN_VALUE))
        sums.right += Number(y > 0.5 === t > 0.5)
      } else {
        sums.loss += Math.max(y, 0) - y * t + Math.log1p(Math.exp(-Math.abs(y)))
        sums.right += Number(y > 0 === t > 0.5)
      }
    }
  }
}
