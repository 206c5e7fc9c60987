/** Gives an open model file batch-norm statistics of a data set, and writes it. */

import { recalibrate, type BatchNormMode, type RecalibrationReport } from '../batchnorm/index.ts'
import { BatchLoader, type Dataset, type Transforms } from '../data/index.ts'
import type { Model } from '../ir/graph.ts'
import { walkNodes } from '../ir/topology.ts'
import type { Engine, Feeds } from '../runtime/engine.ts'
import { writePatched, type ModelFile } from '../serde/index.ts'
import { fromFloat32Tensor } from '../tensor/convert.ts'
import { MemorySource, type ByteSource } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { VERSION } from '../util/version.ts'
import { bindInputs } from './feeds.ts'
import { computableForm, formNotes } from './inference-form.ts'
import { inputSpecs, type InputSpec } from './loading.ts'

export interface CalibrationSettings {
  readonly mode: BatchNormMode
  readonly batchSize: number
  /** Of the order of the samples. */
  readonly seed: number
  /** By data field. */
  readonly transforms: Readonly<Record<string, Transforms>>
  readonly threads?: number
}

export interface CalibrationContext {
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

export interface Calibration {
  /** As used: the wanted one, unless that leaves a single sample for the last batch. */
  readonly batchSize: number
  readonly samples: number
  readonly sites: readonly SiteSummary[]
  readonly notes: readonly string[]
}

/** What a calibration writes: new statistics in place of the file's, and how they were made. */
export interface CalibratedWeights {
  readonly replacements: ReadonlyMap<Tensor, ByteSource>
  readonly metadata: ReadonlyMap<string, string>
  readonly calibration: Calibration
}

/** Calibrates and writes a model to the file `out`: every byte but the statistics is written as it is. */
export async function calibrateFile(
  engine: Engine,
  file: ModelFile,
  dataset: Dataset,
  { out, ...settings }: CalibrationSettings & { readonly out: string },
  context: CalibrationContext = {},
): Promise<Calibration> {
  const { replacements, metadata, calibration } = await calibrate(engine, file, dataset, settings, context)
  await writePatched(file, out, replacements, metadata)
  return calibration
}

/**
 * Computes the statistics. Every sample is seen once, in a seeded order: folders list one class after the other, and a
 * batch should look like the data.
 */
export async function calibrate(
  engine: Engine,
  file: ModelFile,
  dataset: Dataset,
  settings: CalibrationSettings,
  { onProgress, signal }: CalibrationContext = {},
): Promise<CalibratedWeights> {
  const { mode, seed, transforms, threads } = settings
  const batchSize = fittingBatchSize(dataset.length, settings.batchSize)
  const { model, originals } = await computableForm(file.model)
  const inputs = inputSpecs(model)
  const fixed = openBatchAxis(model)
  const loader = new BatchLoader(dataset, { batchSize, seed, transforms, mode: 'eval', shuffle: true })
  const open = (bytes: Uint8Array) => engine.openRunner(bytes, threads === undefined ? {} : { threads })
  const report = await recalibrate(model, open, calibrationFeeds(loader, inputs, signal), {
    mode,
    onProgress: ({ samples }) => onProgress?.(samples, dataset.length),
    ...(signal ? { signal } : {}),
  })
  const wanted = Math.min(settings.batchSize, dataset.length)
  const notes = [
    ...formNotes(file.model),
    ...(batchSize === wanted ? [] : [`batches of ${batchSize}, so that the last one is not a single sample`]),
    ...(fixed === null || fixed === batchSize
      ? []
      : [`the model is made for batches of ${fixed}; its statistics were taken in batches of ${batchSize}`]),
  ]
  return {
    replacements: await sourcesOf(report, originals),
    metadata: metadataOf(report),
    calibration: { batchSize, samples: report.samples, sites: report.sites.map(summarize), notes },
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
export function openBatchAxis(model: Model): number | null {
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
export async function* calibrationFeeds(
  loader: BatchLoader,
  inputs: readonly InputSpec[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Feeds, void, undefined> {
  for await (const batch of loader.batches(0, 0, signal)) yield bindInputs(batch.inputs, inputs)
}

/** New statistics in place of the file's, in its element type. */
async function sourcesOf(
  { replacements }: RecalibrationReport,
  originals: ReadonlyMap<Tensor, Tensor>,
): Promise<Map<Tensor, ByteSource>> {
  const sources = new Map<Tensor, ByteSource>()
  for (const [old, tensor] of replacements) {
    const place = originals.get(old) ?? old
    const stored = place === old ? tensor : fromFloat32Tensor(tensor, place.dtype, 'running statistics')
    sources.set(place, new MemorySource(await stored.bytes()))
  }
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
