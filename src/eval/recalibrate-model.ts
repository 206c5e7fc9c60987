/** A model file and data -> the same model with batch-norm statistics of these data. */

import { recalibrate, type BatchNormMode, type RecalibrationReport } from '../batchnorm/index.ts'
import { BatchLoader, openDataset, type Transforms } from '../data/index.ts'
import type { Model } from '../ir/graph.ts'
import { walkNodes } from '../ir/topology.ts'
import { refuseQuantized } from '../passes/index.ts'
import type { Engine, Feeds } from '../runtime/engine.ts'
import { loadModel, writePatched } from '../serde/index.ts'
import { MemorySource, type ByteSource } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { VERSION } from '../util/version.ts'
import { bindInputs } from './feeds.ts'
import { inputSpecs, transformsForInputs, type DataOptions, type InputSpec } from './loading.ts'

export interface RecalibrateModelOptions {
  readonly model: string
  readonly data: string
  /** The file to write. */
  readonly out: string
  readonly mode: BatchNormMode
  readonly batchSize: number
  readonly dataOptions?: DataOptions
  readonly threads?: number
}

export interface RecalibrateModelContext {
  readonly onProgress?: (samples: number, total: number) => void
  readonly signal?: AbortSignal | undefined
}

/** One pair of running statistics. */
export interface SiteSummary {
  readonly nodes: readonly string[]
  readonly mean: string
  readonly variance: string
  readonly channels: number
  /** Values per channel that were seen. */
  readonly count: number
  /** See `Drift`. */
  readonly meanDrift: number
  readonly varianceDrift: number
}

export interface RecalibratedModel {
  readonly model: string
  readonly out: string
  readonly mode: BatchNormMode
  readonly data: { readonly name: string; readonly samples: number }
  readonly batchSize: number
  readonly transforms: Readonly<Record<string, Transforms>>
  readonly samples: number
  readonly sites: readonly SiteSummary[]
  readonly notes: readonly string[]
}

/** Recomputes the statistics and writes the model; every other byte of it stays. */
export async function recalibrateModel(
  engine: Engine,
  options: RecalibrateModelOptions,
  context: RecalibrateModelContext = {},
): Promise<RecalibratedModel> {
  const { model: path, data, out, mode, dataOptions = {} } = options
  const file = await loadModel(path)
  try {
    refuseQuantized(file.model)
    const inputs = inputSpecs(file.model)
    const dataset = await openDataset(data, dataOptions)
    const batchSize = fittingBatchSize(dataset.length, options.batchSize)
    const fixed = openBatchAxis(file.model)
    const transforms = transformsForInputs(dataset, inputs, dataOptions)
    const loader = new BatchLoader(dataset, {
      ...{ batchSize, seed: dataOptions.seed ?? 0, transforms },
      // Folders list one class after the other, and a batch should look like the data.
      ...{ mode: 'eval', shuffle: true },
    })
    const feeds = calibrationFeeds(loader, inputs, context.signal)
    const threads = options.threads === undefined ? {} : { threads: options.threads }
    const report = await recalibrate(file.model, bytes => engine.openRunner(bytes, threads), feeds, {
      mode,
      onProgress: ({ samples }) => context.onProgress?.(samples, dataset.length),
      ...(context.signal ? { signal: context.signal } : {}),
    })
    await writePatched(file, out, await sourcesOf(report), metadataOf(report))
    const notes = [
      ...dataset.notes,
      ...(batchSize === options.batchSize || dataset.length < options.batchSize
        ? []
        : [`batches of ${batchSize}, so that the last one is not a single sample`]),
      ...(fixed === null || fixed === batchSize
        ? []
        : [
            `the model is made for batches of ${fixed}; its statistics were taken in batches of ${batchSize}`,
          ]),
    ]
    return {
      ...{ model: path, out, mode, batchSize, transforms, samples: report.samples, notes },
      data: { name: dataset.name, samples: dataset.length },
      sites: report.sites.map(summarize),
    }
  } finally {
    await file.close()
  }
}

/** A batch size near the wanted one that leaves no single sample for the last batch: one number has no variance. */
export function fittingBatchSize(samples: number, wanted: number): number {
  if (samples <= wanted || wanted === 1) return Math.min(wanted, samples)
  for (let size = wanted; size > 1; size--) if (samples % size !== 1) return size
  for (let size = wanted; ; size++) if (samples % size !== 1) return size
}

/**
 * Statistics need batches of many samples: a model whose inputs insist on a number of them is opened for any. Only its
 * declared shapes say so as a rule; where its graph does, the engine refuses the batch.
 */
function openBatchAxis(model: Model): number | null {
  let fixed: number | null = null
  for (const input of model.graph.feeds) {
    const { type } = input
    if (type?.kind !== 'tensor' || typeof type.shape?.[0] !== 'number') continue
    fixed ??= type.shape[0]
    input.type = { ...type, shape: [null, ...type.shape.slice(1)] }
  }
  if (fixed === null) return null
  for (const { outputs } of walkNodes(model.graph)) {
    for (const output of outputs)
      if (output?.type?.kind === 'tensor') output.type = { ...output.type, shape: null }
  }
  return fixed
}

/** Every sample once. */
async function* calibrationFeeds(
  loader: BatchLoader,
  inputs: readonly InputSpec[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Feeds, void, undefined> {
  for await (const batch of loader.batches(0, 0, signal)) yield bindInputs(batch.inputs, inputs)
}

async function sourcesOf({ replacements }: RecalibrationReport): Promise<Map<Tensor, ByteSource>> {
  const sources = new Map<Tensor, ByteSource>()
  for (const [old, tensor] of replacements) sources.set(old, new MemorySource(await tensor.bytes()))
  return sources
}

function metadataOf({ mode, samples }: RecalibrationReport): Map<string, string> {
  return new Map([
    ['swa_onnx.version', VERSION],
    ['swa_onnx.bn_mode', mode],
    ['swa_onnx.bn_samples', String(samples)],
  ])
}

function summarize(site: RecalibrationReport['sites'][number]): SiteSummary {
  const { nodes, mean, variance, count, after, meanDrift, varianceDrift } = site
  return { nodes, mean, variance, channels: after.mean.length, count, meanDrift, varianceDrift }
}
