/** The same model on several engines over the same batches: what each measures, how far their outputs are apart, and where. */

import { padBatch, type Batch } from '../data/index.ts'
import type { Engine, Feeds, Runner, SessionOptions } from '../runtime/engine.ts'
import { loadModel } from '../serde/index.ts'
import { sizeOf } from '../tensor/shape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { InputError, InterruptedError, messageOf, SwaError } from '../util/errors.ts'
import { DifferenceAccumulator, isComparable, type Difference } from './difference.ts'
import { bindInputs, fixedBatchSize } from './feeds.ts'
import { findParting, type Parting } from './find-parting.ts'
import { evaluatedForm, evaluationSource } from './inference-form.ts'
import { MetricsAccumulator, type Metrics } from './metrics.ts'
import type { MeasuredOutput } from './task.ts'
import { toleranceFor } from './tolerance.ts'

export interface CrossValidationOptions {
  /** The output that is measured, and by what; null: outputs are only compared. */
  readonly measured: MeasuredOutput | null
  /** Largest relative difference (difference.ts) that is taken for rounding; default: see tolerance.ts. */
  readonly tolerance?: number | undefined
  readonly threads?: number | undefined
  /** At most so many batches; default: all. */
  readonly batches?: number
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: (samples: number) => void
  /** While the node is looked for: inner values compared so far. */
  readonly onSearch?: (values: number, total: number) => void
}

export interface MeasuredEngine {
  readonly name: string
  readonly description: string
  readonly samples: number
  /** Null where no output is measured. */
  readonly metrics: Metrics | null
  /** Spent in runs of the model; a GPU's first run prepares its kernels. */
  readonly seconds: number
}

export interface ComparedOutput {
  readonly output: string
  readonly difference: Difference
  /** The largest relative difference that is taken for rounding. */
  readonly tolerance: number
  /** Share of samples (or positions of them) whose highest class is the same; null for what holds no classes. */
  readonly sameClass: number | null
}

export interface ComparedEngine {
  readonly engine: string
  readonly agrees: boolean
  readonly outputs: readonly ComparedOutput[]
  /** Outputs that were not compared: text. */
  readonly uncompared: readonly string[]
  /** The first node where it parts from the reference; null if it agrees, or if there is no such node. */
  readonly parting: Parting | null
}

export interface CrossValidation {
  readonly model: string
  /** Whether all engines agree with the reference. */
  readonly agrees: boolean
  /** The first one is the reference. */
  readonly engines: readonly MeasuredEngine[]
  /** One for each of the others. */
  readonly comparisons: readonly ComparedEngine[]
}

/**
 * Runs all engines side by side, batch by batch.
 *
 * @param engines the reference, and one or more others
 * @param path of the model
 * @param batches the data in batches of the size they are asked for
 */
export async function crossValidate(
  engines: readonly [Engine, ...Engine[]],
  path: string,
  batches: (batchSize: number | null) => AsyncIterable<Batch>,
  options: CrossValidationOptions,
): Promise<CrossValidation> {
  const session = options.threads === undefined ? {} : { threads: options.threads }
  const source = await evaluationSource(path)
  const lanes: Lane[] = []
  try {
    for (const engine of engines) {
      const runner = await named(engine, () => engine.openRunner(source, session))
      lanes.push(new Lane(engine, runner, options))
    }
    await runAll(lanes, batches, options)
  } finally {
    for (const { runner } of lanes) await runner.close()
  }
  const [reference, ...others] = lanes as [Lane, ...Lane[]]
  const comparisons: ComparedEngine[] = []
  for (const lane of others) comparisons.push(await lane.compare(reference, path, session))
  return {
    model: path,
    agrees: comparisons.every(({ agrees }) => agrees),
    engines: lanes.map(lane => lane.measured()),
    comparisons,
  }
}

async function runAll(
  lanes: readonly Lane[],
  batches: (batchSize: number | null) => AsyncIterable<Batch>,
  { signal, onProgress, batches: most = Infinity }: CrossValidationOptions,
): Promise<void> {
  const [reference, ...others] = lanes as [Lane, ...Lane[]]
  const fixed = fixedBatchSize(reference.runner.inputs)
  let [samples, done] = [0, 0]
  for await (const batch of batches(fixed)) {
    if (signal?.aborted) throw new InterruptedError('cross-validation was interrupted')
    const { inputs } = fixed === null ? batch : padBatch(batch, fixed)
    const expected = await reference.run(inputs, batch)
    for (const lane of others) lane.add(expected, await lane.run(inputs, batch))
    samples += batch.size
    onProgress?.(samples)
    if (++done >= most) break
  }
}

/** What one engine gave for a batch, and what it was fed. */
interface Given {
  readonly feeds: Feeds
  readonly outputs: ReadonlyMap<string, Tensor>
  readonly size: number
}

interface OutputSoFar {
  readonly difference: DifferenceAccumulator
  /** Of the batch with the worst element so far. */
  readonly feeds: Feeds
}

/** One engine at work. */
class Lane {
  readonly runner: Runner
  readonly #engine: Engine
  readonly #options: CrossValidationOptions
  readonly #metrics: MetricsAccumulator | null
  readonly #differences = new Map<string, OutputSoFar>()
  #samples = 0
  #sameClass = 0
  #classified = 0
  #seconds = 0

  constructor(engine: Engine, runner: Runner, options: CrossValidationOptions) {
    const { measured } = options
    this.#engine = engine
    this.runner = runner
    this.#options = options
    this.#metrics = measured && new MetricsAccumulator(measured)
    const names = runner.outputs.map(({ name }) => name)
    if (measured && !names.includes(measured.output)) {
      throw new InputError(
        `evaluate: no output "${measured.output}" on engine ${engine.name}, found ${names.join(', ')}`,
      )
    }
  }

  get name(): string {
    return this.#engine.name
  }

  async run(inputs: ReadonlyMap<string, Tensor>, { targets, size }: Batch): Promise<Given> {
    const feeds = bindInputs(inputs, this.runner.inputs)
    const wanted = this.runner.outputs.filter(({ dtype }) => isComparable(dtype)).map(({ name }) => name)
    const start = performance.now()
    const outputs = await named(this.#engine, () => this.runner.run(feeds, wanted))
    this.#seconds += (performance.now() - start) / 1000
    const { measured } = this.#options
    if (measured) this.#metrics!.add(outputs.get(measured.output)!, targets.get(measured.target)!, size)
    this.#samples += size
    return { feeds, outputs, size }
  }

  /** Compares a batch with the reference's. */
  add(expected: Given, found: Given): void {
    for (const [name, reference] of expected.outputs) {
      const value = found.outputs.get(name)
      if (!value) continue
      const known = this.#differences.get(name) ?? {
        difference: new DifferenceAccumulator(),
        feeds: expected.feeds,
      }
      const isWorse = known.difference.add(reference, value)
      this.#differences.set(name, isWorse ? { ...known, feeds: expected.feeds } : known)
      const { measured } = this.#options
      if (measured && name === measured.output) this.#countClasses(measured, reference, value, expected.size)
    }
  }

  #countClasses({ task, axis = 1 }: MeasuredOutput, reference: Tensor, value: Tensor, size: number): void {
    if (task === 'multilabel' || task === 'regression' || reference.dims.length < 2) return
    const [expected, found] = [highest(reference, size, axis), highest(value, size, axis)]
    this.#classified += expected.length
    this.#sameClass += expected.filter((index, i) => index === found[i]).length
  }

  measured(): MeasuredEngine {
    const { name, description } = this.#engine
    const metrics = this.#metrics && this.#metrics.result()
    return { name, description, samples: this.#samples, metrics, seconds: this.#seconds }
  }

  /** The verdict, and the node where this engine parts from the reference. */
  async compare(reference: Lane, path: string, session: SessionOptions): Promise<ComparedEngine> {
    const { tolerance: asked, measured, signal, onSearch } = this.#options
    const engines = [reference.#engine, this.#engine] as const
    const tolerance = toleranceFor(engines, asked)
    const outputs = [...this.#differences].map(([output, so]): ComparedOutput => {
      const difference = so.difference.result()
      const sameClass =
        output === measured?.output && this.#classified > 0 ? this.#sameClass / this.#classified : null
      return { output, difference, tolerance: tolerance(difference.dtype), sameClass }
    })
    const excess = ({ difference, tolerance }: ComparedOutput) => difference.relative - tolerance
    const worst = outputs.reduce((a, b) => (excess(b) > excess(a) ? b : a))
    const agrees = excess(worst) <= 0
    const names = new Set(outputs.map(({ output }) => output))
    const uncompared = this.runner.outputs.map(({ name }) => name).filter(name => !names.has(name))
    const verdict = { engine: this.name, agrees, outputs, uncompared }
    if (agrees) return { ...verdict, parting: null }
    const { feeds } = this.#differences.get(worst.output)!
    const file = await loadModel(path)
    try {
      const { model } = await evaluatedForm(file.model)
      const search = { tolerance, session, signal, ...(onSearch ? { onProgress: onSearch } : {}) }
      return { ...verdict, parting: await findParting(engines, model, feeds, search) }
    } finally {
      await file.close()
    }
  }
}

/** The class with the highest output, for each of the first samples and each position: output [N,d...,C,e...] -> N·d·e. */
function highest(tensor: Tensor, size: number, axis: number): number[] {
  const { dims } = tensor
  const classes = dims[axis]!
  const [outer, inner] = [size * sizeOf(dims.slice(1, axis)), sizeOf(dims.slice(axis + 1))]
  const values = tensor.dtype === 'float32' ? (tensor.view() as Float32Array) : tensor.toNumbers()
  const found: number[] = []
  for (let n = 0; n < outer; n++) {
    for (let i = 0; i < inner; i++) {
      let best = 0
      const at = (c: number) => values[(n * classes + c) * inner + i]!
      for (let c = 1; c < classes; c++) if (at(c) > at(best)) best = c
      found.push(best)
    }
  }
  return found
}

/** Errors say which of the engines had them. */
async function named<T>(engine: Engine, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof InterruptedError) throw error
    const cure = error instanceof SwaError ? error.cure : undefined
    const Class = error instanceof SwaError ? (error.constructor as typeof InputError) : InputError
    throw new Class(`engine ${engine.name}: ${messageOf(error)}`, {
      cause: error,
      ...(cure === undefined ? {} : { cure }),
    })
  }
}
