/** Repairs an average on disk: statistics of its members, one open at a time, then new weights and biases. */

import type { Batch, ChannelStatistics } from '../batchnorm/index.ts'
import { BatchLoader, openDataset, type Dataset } from '../data/index.ts'
import type { AveragePlan } from '../averaging/index.ts'
import type { Model } from '../ir/graph.ts'
import type { Engine } from '../runtime/engine.ts'
import { loadModel, writePatched } from '../serde/index.ts'
import { MemorySource, type ByteSource } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { InputError, UnsupportedError } from '../util/errors.ts'
import type { AverageModelContext, AverageModelOptions } from './average-model.ts'
import { calibrationFeeds, fittingBatchSize, openBatchAxis } from './calibrate.ts'
import { inputSpecs, transformsForInputs } from './loading.ts'
import {
  layerStatistics,
  planRepair,
  repair,
  type RepairContext,
  type RepairedLayer,
  type RepairPlan,
} from './repair.ts'

export interface RepairReport {
  readonly data: { readonly name: string; readonly samples: number }
  readonly layers: readonly RepairedLayer[]
  readonly skipped: RepairPlan['skipped']
}

/** Writes the average at `average` repaired to `out`. */
export async function repairAverage(
  engine: Engine,
  plan: AveragePlan,
  average: string,
  out: string,
  options: AverageModelOptions & { readonly data: string },
  { onProgress, signal }: AverageModelContext,
): Promise<RepairReport> {
  const members = plan.files.filter(({ role }) => role === 'member')
  const other = members.find(({ format }) => format !== 'onnx')
  if (other) {
    throw new UnsupportedError(
      `--repair: ${other.path} is ${other.format}: expected ONNX members, whose activations can be measured`,
    )
  }
  const weights = members.map(({ weight }) => weight)
  const total = weights.reduce((a, b) => a + b, 0)
  const target = await loadModel(average)
  try {
    const { data, dataOptions = {} } = options
    const dataset = await openDataset(data, { ...dataOptions, model: inputSpecs(target.model) })
    const progress = (label: string) => (samples: number) =>
      onProgress?.({ label, done: samples, total: dataset.length, unit: 'samples' })
    const contextOf = (model: Model, label: string): RepairContext => ({
      ...runnerFor(engine, model, dataset, options, signal),
      onProgress: progress(label),
      ...(signal ? { signal } : {}),
    })
    const seen: (readonly ChannelStatistics[])[] = []
    for (const { path } of members) {
      const member = await loadModel(path)
      try {
        const context = contextOf(member.model, `measure ${path}`)
        seen.push(await layerStatistics(member.model, layersOf(member.model, path), context))
      } finally {
        await member.close()
      }
    }
    const layers = layersOf(target.model, average)
    const targets = layers.layers.map((_, l) =>
      meanOf(
        seen.map(one => one[l]!),
        weights,
        total,
      ),
    )
    const found = await repair(target.model, layers, targets, contextOf(target.model, 'repair'))
    const replacements = new Map<Tensor, ByteSource>()
    for (const [tensor, repaired] of found.replacements) {
      replacements.set(tensor, new MemorySource(await repaired.bytes()))
    }
    const metadata = new Map([['swa_onnx.repaired', String(found.layers.length)]])
    await writePatched(target, out, replacements, metadata)
    return {
      data: { name: dataset.name, samples: dataset.length },
      layers: found.layers,
      skipped: layers.skipped,
    }
  } finally {
    await target.close()
  }
}

function layersOf(model: Model, path: string): RepairPlan {
  const plan = planRepair(model)
  if (plan.layers.length > 0) return plan
  const reasons = plan.skipped.slice(0, 3).map(({ node, reason }) => `${node}: ${reason}`)
  throw new InputError(
    `--repair: ${path} has no layer whose channels can be repaired (${reasons.join('; ') || 'no convolution and no Gemm'})`,
  )
}

/** What runs a model over all data. */
function runnerFor(
  engine: Engine,
  model: Model,
  dataset: Dataset,
  { batchSize, dataOptions = {}, threads }: AverageModelOptions,
  signal: AbortSignal | undefined,
): Pick<RepairContext, 'open' | 'batches'> {
  const inputs = inputSpecs(model)
  const transforms = transformsForInputs(dataset, inputs, dataOptions)
  openBatchAxis(model)
  const size = fittingBatchSize(dataset.length, batchSize)
  const seed = dataOptions.seed ?? 0
  const loader = new BatchLoader(dataset, { batchSize: size, seed, transforms, mode: 'eval', shuffle: true })
  return {
    open: bytes => engine.openRunner(bytes, threads === undefined ? {} : { threads }),
    batches: () => calibrationFeeds(loader, inputs, signal) as AsyncIterable<Batch>,
  }
}

/** What the members have on average: means of means, and of deviations. */
function meanOf(
  statistics: readonly ChannelStatistics[],
  weights: readonly number[],
  total: number,
): { readonly mean: Float64Array; readonly deviation: Float64Array } {
  const average = (read: (one: ChannelStatistics, channel: number) => number) =>
    statistics[0]!.mean.map(
      (_, c) => statistics.reduce((sum, one, k) => sum + weights[k]! * read(one, c), 0) / total,
    )
  return {
    mean: average(({ mean }, c) => mean[c]!),
    deviation: average(({ variance }, c) => Math.sqrt(variance[c]!)),
  }
}
