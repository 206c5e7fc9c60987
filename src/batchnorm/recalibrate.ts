/** Recomputes the running statistics of a model's batch normalizations from data. */

import { InputError, InterruptedError, UsageError } from '../util/errors.ts'
import { DTYPES } from '../tensor/dtype.ts'
import { formatShape, sizeOf } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { Model } from '../ir/graph.ts'
import { findBatchNorms, withoutFunctions, type BatchNormSite } from '../passes/index.ts'
import { serializeModel } from '../serde/index.ts'
import { driftOf, type Drift } from './drift.ts'
import { PooledStatistics, type BatchNormMode, type ChannelStatistics } from './pooled-statistics.ts'
import { groupSites, type StatisticsGroup } from './sites.ts'
import { buildStatisticsGraph, type SiteOutputs } from './statistics-graph.ts'

/** Named tensors of one batch. */
export type Batch = ReadonlyMap<string, Tensor>

/** What executes the statistics graph. */
export interface StatisticsRunner {
  run(feeds: Batch, outputs?: readonly string[]): Promise<ReadonlyMap<string, Tensor>>
  close(): Promise<void>
}

export type OpenRunner = (model: Uint8Array) => Promise<StatisticsRunner>

export interface RecalibrationOptions {
  /** Default `exact`. */
  readonly mode?: BatchNormMode
  /** Which sites; default: all that have stored statistics. */
  readonly sites?: readonly BatchNormSite[]
  /** Called after every batch. */
  readonly onProgress?: (progress: RecalibrationProgress) => void
  readonly signal?: AbortSignal
}

export interface RecalibrationProgress {
  readonly batches: number
  readonly samples: number
}

/** What changed in one pair of running statistics. */
export interface SiteReport extends Drift {
  /** Labels of the nodes that read the pair. */
  readonly nodes: readonly string[]
  /** Names of the weights. */
  readonly mean: string
  readonly variance: string
  /** Values per channel that were seen. */
  readonly count: number
  readonly before: ChannelStatistics
  readonly after: ChannelStatistics
}

export interface RecalibrationReport extends RecalibrationProgress {
  readonly mode: BatchNormMode
  readonly sites: readonly SiteReport[]
  /** The file's tensor -> the tensor that takes its place, in the same element type and dims. */
  readonly replacements: ReadonlyMap<Tensor, Tensor>
}

/**
 * Runs all batches through the model, each normalization using the statistics of the batch, and pools what they say.
 * The same batches in the same order give the same bytes. The model is not changed: `replacements` say what to write.
 */
export async function recalibrate(
  model: Model,
  open: OpenRunner,
  batches: AsyncIterable<Batch> | Iterable<Batch>,
  options: RecalibrationOptions = {},
): Promise<RecalibrationReport> {
  const { mode = 'exact', onProgress, signal } = options
  // Statistics inside local functions are found where their calls are written out; the tensors are the same.
  const plain = options.sites ? model : withoutFunctions(model)
  const sites = options.sites ?? findBatchNorms(plain)
  if (sites.length === 0) {
    throw new UsageError('recalibrate: the model has no batch normalization with stored statistics', {
      cure: 'export the model with its BatchNormalization nodes kept (training-mode export)',
    })
  }
  const groups = groupSites(plain, sites)
  const graph = buildStatisticsGraph(plain, sites)
  const pools = new Map(groups.map(group => [group, new PooledStatistics(group.mean.size)]))
  const poolOf = new Map(groups.flatMap(group => group.sites.map(site => [site, pools.get(group)!] as const)))
  const progress = { batches: 0, samples: 0 }
  const runner = await open(await serializeModel(graph.model))
  try {
    for await (const batch of batches) {
      if (signal?.aborted) throw interrupted(progress.batches)
      checkFinite(batch, progress.batches)
      const results = await runner.run(batch)
      for (const outputs of graph.outputs)
        addBatch(poolOf.get(outputs.site)!, outputs, results, progress.batches)
      progress.batches++
      progress.samples += [...batch.values()][0]?.dims[0] ?? 0
      onProgress?.({ ...progress })
    }
  } finally {
    await runner.close()
  }
  if (signal?.aborted) throw interrupted(progress.batches)
  if (progress.batches === 0) throw new InputError('recalibrate: the data holds no batch')
  const replacements = new Map<Tensor, Tensor>()
  const reports: SiteReport[] = []
  for (const [group, pool] of pools) reports.push(await applyGroup(group, pool, mode, replacements))
  return { mode, ...progress, sites: reports, replacements }
}

function interrupted(batches: number): InterruptedError {
  return new InterruptedError(`recalibrate: interrupted after ${batches} batches; nothing was changed`)
}

/** Pools what one site said about one batch. */
function addBatch(
  pool: PooledStatistics,
  outputs: SiteOutputs,
  results: ReadonlyMap<string, Tensor>,
  batch: number,
): void {
  const { label } = outputs.site
  const read = (name: string) => {
    const tensor = results.get(name)
    if (!tensor) throw new InputError(`${label}: the runner gave no output "${name}"`)
    return tensor.toNumbers()
  }
  const shape = read(outputs.shape)
  const count = sizeOf(shape) / pool.channels
  if (count < 2) {
    throw new InputError(
      `${label}: batch ${batch + 1} gives ${count} value per channel (input ${formatShape(shape)}), expected at least 2`,
      { cure: 'use a batch size that does not leave a single sample for the last batch' },
    )
  }
  // The mean to float64 accuracy, and the squares' sum moved to it: M2 - n shift².
  const [rounded, shift, squares] = [read(outputs.mean), read(outputs.shift), read(outputs.m2)]
  const mean = rounded.map((value, channel) => value + shift[channel]!)
  const m2 = squares.map((value, channel) => Math.max(0, value - count * shift[channel]! ** 2))
  for (const [what, values] of [
    ['mean', mean],
    ['variance', squares],
  ] as const) {
    const channel = values.findIndex(value => !Number.isFinite(value))
    if (channel < 0) continue
    throw new InputError(
      `${label}: the ${what} of channel ${channel} is ${values[channel]!} on batch ${batch + 1}`,
      { cure: 'look for weights that are not finite, or for inputs of an unusual scale' },
    )
  }
  pool.add(mean, m2, count)
}

function checkFinite(batch: Batch, index: number): void {
  for (const [name, tensor] of batch) {
    if (!DTYPES[tensor.dtype].float) continue
    const values = tensor.dtype === 'float32' ? (tensor.view() as Float32Array) : tensor.toNumbers()
    const element = values.findIndex(value => !Number.isFinite(value))
    if (element < 0) continue
    throw new InputError(
      `recalibrate: input "${name}" of batch ${index + 1} is ${values[element]!} at element ${element}`,
    )
  }
}

/** Rounds the new statistics to the dtype of the old and compares both. */
async function applyGroup(
  group: StatisticsGroup,
  pool: PooledStatistics,
  mode: BatchNormMode,
  replacements: Map<Tensor, Tensor>,
): Promise<SiteReport> {
  const result = pool.result(mode)
  const nodes = group.sites.map(site => site.label)
  const store = (name: string, old: Tensor, values: Float64Array) => {
    const tensor = Tensor.of(old.dtype, old.dims, [...values])
    const stored = Float64Array.from(tensor.toNumbers())
    const channel = stored.findIndex(value => !Number.isFinite(value))
    if (channel >= 0) {
      throw new InputError(
        `${nodes[0]!}: "${name}" would hold ${values[channel]!} in channel ${channel}, which ${old.dtype} cannot`,
      )
    }
    replacements.set(old, tensor)
    return stored
  }
  const numbers = async (tensor: Tensor) => Float64Array.from((await tensor.load()).toNumbers())
  const before = { mean: await numbers(group.mean), variance: await numbers(group.variance) }
  const after = {
    mean: store(group.meanName, group.mean, result.mean),
    variance: store(group.varianceName, group.variance, result.variance),
  }
  return {
    ...{ nodes, mean: group.meanName, variance: group.varianceName, count: pool.count, before, after },
    ...driftOf(before, after, group.sites[0]!.epsilon),
  }
}
