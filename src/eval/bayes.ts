/**
 * Bayesian model averaging: predictions of models drawn from a Gaussian over weights, averaged as probabilities (Maddox et al.,
 * 2019, section 3.4), beside those of its mean.
 */

import { rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { drawModel, openSwag, type Swag } from '../averaging/index.ts'
import { openDataset, padBatch, type Batch, type Dataset } from '../data/index.ts'
import type { Engine } from '../runtime/engine.ts'
import { Tensor } from '../tensor/tensor.ts'
import { InterruptedError, UnsupportedError, UsageError } from '../util/errors.ts'
import { batchNormsOf } from './batch-norms-of.ts'
import { measuredData, planModel } from './compare.ts'
import { bindInputs, fixedBatchSize } from './feeds.ts'
import { evaluationSource } from './inference-form.ts'
import type { DataOptions } from './loading.ts'
import { MetricsAccumulator, type Metrics } from './metrics.ts'
import { recalibrateModel } from './recalibrate-model.ts'
import type { MeasuredOutput } from './task.ts'

export interface BayesOptions {
  /** The Gaussian, written by the method swag. */
  readonly posterior: string
  /** A model of its graph. */
  readonly into: string
  /** Labelled data. */
  readonly data: string
  /** Data to recalibrate the batch norms of every drawn model on. */
  readonly bnData?: string
  readonly draws: number
  readonly seed: number
  readonly scale?: number
  readonly diagonal?: boolean
  readonly output?: string
  readonly batchSize: number
  readonly dataOptions?: DataOptions
  readonly threads?: number
  /** Folder for drawn models, which are removed one after the other. */
  readonly folder?: string
}

export interface BayesContext {
  readonly onProgress?: (draw: number, draws: number) => void
  readonly signal?: AbortSignal | undefined
}

export interface BayesReport {
  readonly data: { readonly name: string; readonly samples: number }
  readonly draws: number
  readonly batchNorms: number
  /** Of the mean of the Gaussian, as one model. */
  readonly mean: Metrics
  /** Of the averaged predictions. */
  readonly averaged: Metrics
  readonly warnings: readonly string[]
}

export async function evaluateBayes(
  engine: Engine,
  options: BayesOptions,
  context: BayesContext = {},
): Promise<BayesReport> {
  const { posterior, into, data, draws, dataOptions = {} } = options
  if (!Number.isSafeInteger(draws) || draws < 1) {
    throw new UsageError(`evaluate: expected one draw or more, found ${draws}`)
  }
  const swag = await openSwag(posterior)
  try {
    const plan = await planModel(into, options.output)
    const dataset = await openDataset(data, { usual: 'val', ...dataOptions, model: plan.inputs })
    const { measured, batches } = measuredData(plan, dataset, options, context.signal)
    const [measure] = measured
    checkTask(measure!)
    const batchNorms = await batchNormsOf(into)
    const predictions = new Predictions(measure!)
    for (let draw = 0; draw <= draws; draw++) {
      // Draw 0 is the mean.
      const settings = {
        ...options,
        seed: options.seed + draw - 1,
        ...(draw === 0 ? { scale: 0, seed: 0 } : {}),
      }
      await withDraw(engine, swag, settings, batchNorms > 0, context, model =>
        predict(engine, model, batches, measure!, options, context, (batch, index, output) =>
          draw === 0 ? predictions.measureMean(batch, output) : predictions.add(batch, index, output),
        ),
      )
      context.onProgress?.(draw, draws)
    }
    return {
      data: { name: dataset.name, samples: dataset.length },
      ...{ draws, batchNorms },
      ...predictions.result(draws),
      warnings: warningsFor(options, batchNorms, dataset),
    }
  } finally {
    await swag.close()
  }
}

function warningsFor({ bnData, into }: BayesOptions, batchNorms: number, { notes }: Dataset): string[] {
  const stale = `${into} has ${batchNorms} batch normalizations, whose statistics do not fit drawn weights; give --bn-data`
  return [...notes, ...(batchNorms > 0 && bnData === undefined ? [stale] : [])]
}

/** What has probabilities of classes to be averaged. */
function checkTask({ task, kind, output }: MeasuredOutput): void {
  if (task === 'classification' && kind !== 'values') return
  throw new UnsupportedError(
    `evaluate: output "${output}" is measured as ${task}: predictions are averaged of one class for each sample`,
  )
}

/** Draws a model, recalibrates it if it has batch norms, and removes it after use. */
async function withDraw(
  engine: Engine,
  swag: Swag,
  options: BayesOptions,
  hasBatchNorms: boolean,
  { signal }: BayesContext,
  use: (model: string) => Promise<void>,
): Promise<void> {
  const { into, bnData, seed, scale, diagonal, batchSize, dataOptions, threads, posterior } = options
  const folder = options.folder ?? dirname(posterior)
  const name = (what: string) => join(folder, `.${process.pid}.${what}.onnx`)
  const [drawn, calibrated] = [name('drawn'), name('calibrated')]
  try {
    const given = {
      ...(scale === undefined ? {} : { scale }),
      ...(diagonal === undefined ? {} : { diagonal }),
    }
    await drawModel(swag, into, drawn, { seed, ...given })
    if (!hasBatchNorms || bnData === undefined) {
      await use(drawn)
      return
    }
    const settings = {
      ...{ model: drawn, data: bnData, out: calibrated, mode: 'exact' as const, batchSize },
      ...(dataOptions ? { dataOptions } : {}),
      ...(threads === undefined ? {} : { threads }),
    }
    await recalibrateModel(engine, settings, signal ? { signal } : {})
    await use(calibrated)
  } finally {
    for (const path of [drawn, calibrated]) {
      await rm(path, { force: true })
      await rm(`${path}.data`, { force: true })
    }
  }
}

async function predict(
  engine: Engine,
  model: string,
  batches: (fixed: number | null) => AsyncIterable<Batch>,
  measure: MeasuredOutput,
  { threads }: BayesOptions,
  { signal }: BayesContext,
  onBatch: (batch: Batch, index: number, output: Tensor) => void,
): Promise<void> {
  const runner = await engine.openRunner(
    await evaluationSource(model),
    threads === undefined ? {} : { threads },
  )
  try {
    const fixed = fixedBatchSize(runner.inputs)
    let index = 0
    for await (const batch of batches(fixed)) {
      if (signal?.aborted) throw new InterruptedError('evaluation was interrupted')
      const { inputs } = fixed === null ? batch : padBatch(batch, fixed)
      const outputs = await runner.run(bindInputs(inputs, runner.inputs), [measure.output])
      onBatch(batch, index++, outputs.get(measure.output)!)
    }
  } finally {
    await runner.close()
  }
}

interface Summed {
  readonly probabilities: Float64Array
  readonly dims: readonly number[]
  readonly targets: Tensor
  readonly size: number
}

/** Probabilities of every sample, summed over draws: samples · classes numbers of memory. */
class Predictions {
  readonly #measure: MeasuredOutput
  readonly #mean: MetricsAccumulator
  readonly #batches: Summed[] = []

  constructor(measure: MeasuredOutput) {
    this.#measure = measure
    this.#mean = new MetricsAccumulator(measure)
  }

  measureMean({ targets, size }: Batch, output: Tensor): void {
    this.#mean.add(output, targets.get(this.#measure.target)!, size)
  }

  add({ targets, size }: Batch, index: number, output: Tensor): void {
    const probabilities = probabilitiesOf(output, this.#measure.kind)
    const known = this.#batches[index]
    if (known) probabilities.forEach((p, i) => (known.probabilities[i]! += p))
    else {
      const target = targets.get(this.#measure.target)!
      this.#batches.push({ probabilities, dims: output.dims, targets: target, size })
    }
  }

  result(draws: number): Pick<BayesReport, 'mean' | 'averaged'> {
    const averaged = new MetricsAccumulator({ ...this.#measure, kind: 'probabilities' })
    for (const { probabilities, dims, targets, size } of this.#batches) {
      const mean = Float32Array.from(probabilities, p => p / draws)
      averaged.add(Tensor.of('float32', dims, mean), targets, size)
    }
    return { mean: this.#mean.result(), averaged: averaged.result() }
  }
}

/** Of outputs [N,C]. */
function probabilitiesOf(output: Tensor, kind: MeasuredOutput['kind']): Float64Array {
  const x = Float64Array.from(output.toNumbers())
  if (kind === 'probabilities') return x
  if (kind === 'log_probabilities') return x.map(Math.exp)
  const classes = output.dims[1]!
  for (let start = 0; start < x.length; start += classes) {
    const row = x.subarray(start, start + classes)
    const largest = row.reduce((a, b) => Math.max(a, b), -Infinity)
    const sum = row.reduce((total, value) => total + Math.exp(value - largest), 0)
    row.forEach((value, i) => (row[i] = Math.exp(value - largest) / sum))
  }
  return x
}
