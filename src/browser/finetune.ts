/** A whole fine-tuning run in a browser, from bytes to bytes: nothing is read or written anywhere else. */

import { createHash } from 'node:crypto'
import { countBatchNorms } from '../passes/index.ts'
import type { Engine, Traffic } from '../runtime/engine.ts'
import { openWebEngine, type WebEngineName, type WebOptions } from '../runtime/ort-web/index.ts'
import { openModelBytes, patchModel, serializeModel, type ModelFile } from '../serde/index.ts'
import { calibrate, type Calibration } from '../eval/calibrate.ts'
import { formNotes } from '../eval/inference-form.ts'
import { metadataOf, select, winner, type CandidateName, type Measured } from '../train/candidates.ts'
import { withNewHead } from '../train/head.ts'
import { resolvePlan, type FinetunePlan } from '../train/plan.ts'
import { openSession, type TrainingSession } from '../train/session.ts'
import type { Weights } from '../train/weights.ts'
import { trainAndVal, type BrowserData } from './data.ts'
import type { BrowserEvent, RunContext } from './events.ts'
import { MemoryRun } from './memory-run.ts'
import { resolveOptions, type BrowserOptions } from './options.ts'

export interface BrowserFinetune {
  /** The ONNX file, its weights inside; it must not change while the run goes on. */
  readonly model: Uint8Array
  /** For messages. */
  readonly name?: string
  readonly data: BrowserData
  /** Validation data; by default a share of `data` is held out. */
  readonly val?: BrowserData
  readonly options?: BrowserOptions
  /** A loss of one's own: an ONNX file. */
  readonly loss?: Uint8Array
  /** `auto` (default): WebGPU where there is a real GPU, else WebAssembly. */
  readonly engine?: WebEngineName | 'auto' | Engine
  /** How onnxruntime-web is loaded. */
  readonly web?: WebOptions
  readonly onEvent?: (event: BrowserEvent) => void
  readonly signal?: AbortSignal
}

/** A model that the run compares. */
export interface BrowserCandidate extends Measured {
  /** The file. */
  readonly bytes: Uint8Array
}

export interface BrowserResult {
  readonly plan: FinetunePlan
  readonly engine: string
  readonly steps: number
  readonly snapshots: readonly number[]
  /** Before training, after the last step, the best snapshot where there is validation, and the average. */
  readonly candidates: readonly BrowserCandidate[]
  readonly selected: CandidateName
  /** Whether nothing else validated better than the average; null without validation data. */
  readonly swaIsBest: boolean | null
  /** What batch-norm recalibration did; null where there was nothing to recalibrate. */
  readonly recalibrated: Calibration | null
  readonly traffic: Traffic
  /** `averaged.onnx` and `last.onnx`, and the file of the selected candidate. */
  readonly averaged: Uint8Array
  readonly last: Uint8Array
  readonly selectedModel: Uint8Array
}

/**
 * Fine-tunes a model with SWA. Call it in a Web Worker: WebAssembly holds its thread during a step.
 * Failures are errors of the library (SwaError), with a cure where one is known; an abort is an InterruptedError.
 */
export async function finetuneInBrowser(request: BrowserFinetune): Promise<BrowserResult> {
  const { model, name = 'model.onnx', engine = 'auto', onEvent = () => undefined, signal } = request
  const context: RunContext = { onEvent, signal }
  const options = resolveOptions(request.options)
  const given = await openModelBytes(model, name)
  const data = trainAndVal(request.data, request.val, options)
  const lossGraph = request.loss ? { path: 'loss.onnx', bytes: request.loss } : null
  const opened = typeof engine === 'string' ? await openWebEngine(engine, request.web) : engine
  const plan = await resolvePlan(
    opened,
    given.model,
    { path: name, sha256: createHash('sha256').update(model).digest('hex') },
    { ...data, lossGraph },
    options,
  )
  onEvent({ kind: 'note', message: `engine: ${opened.description}` })
  const { file, notes } = await openStart(given, plan)
  for (const message of notes) onEvent({ kind: 'note', message })
  const session = await openSession(opened, file, { plan, ...data, lossGraph }, undefined)
  try {
    const { trainer, graph } = session
    const run = await MemoryRun.open(session, context)
    for (const message of [...data.train.notes, ...formNotes(file.model), ...graph.notes, ...trainer.notes])
      onEvent({ kind: 'note', message })
    await run.train()
    const { traffic } = trainer
    await trainer.close()
    return await finish(session, run, context, traffic)
  } finally {
    await session.trainer.close()
  }
}

/** The model that the run starts from: the given one, or the one with a fresh head. */
async function openStart(
  given: ModelFile,
  plan: FinetunePlan,
): Promise<{ file: ModelFile; notes: readonly string[] }> {
  const { head } = plan
  if (!head) return { file: given, notes: [] }
  const { model, notes } = await withNewHead(given.model, { ...plan, head })
  return { file: await openModelBytes(await serializeModel(model), given.path), notes }
}

async function finish(
  session: TrainingSession,
  run: MemoryRun,
  context: RunContext,
  traffic: Traffic,
): Promise<BrowserResult> {
  const { plan, val, training, file } = session
  const { snapshots, best, start, course } = run
  const { steps } = course
  const { weights, metrics, moving } = run.last!
  const last = await run.modelWith(weights, metadataOf(plan, 'last', [steps]))
  const averageOf = async (mean: { theta: Float32Array; buffers: Weights }, method: 'swa' | 'ema') => {
    const averaged: Weights = new Map([...training.parameters.unpack(mean.theta), ...mean.buffers])
    const members = method === 'swa' ? snapshots : [steps]
    const stale = await run.modelWith(averaged, metadataOf(plan, method, members))
    const { bytes, calibration } = await recalibrated(session, stale, context)
    const measured = val ? await run.validate(bytes, method, steps) : null
    return { candidate: { name: method, step: steps, metrics: measured, bytes }, calibration }
  }
  const { candidate: swa, calibration } = await averageOf(run.average.mean(), 'swa')
  const ema = moving && (await averageOf(moving, 'ema')).candidate
  const candidates: BrowserCandidate[] = [
    { name: 'start', step: 0, metrics: start, bytes: await patchModel(file, new Map(), new Map()) },
    { name: 'last', step: steps, metrics, bytes: last },
    ...(best ? [await bestCandidate(run, best, plan)] : []),
    ...(ema ? [ema] : []),
    swa,
  ]
  const { metric } = plan.settings
  const selected = select(candidates, plan.settings.select, metric)
  return {
    plan,
    engine: session.engine.description,
    steps,
    snapshots,
    candidates,
    selected,
    swaIsBest: swa.metrics && winner(candidates, metric) === 'swa',
    recalibrated: calibration,
    traffic,
    averaged: swa.bytes,
    last,
    selectedModel: candidates.find(candidate => candidate.name === selected)!.bytes,
  }
}

async function bestCandidate(
  run: MemoryRun,
  { step, metrics, weights }: NonNullable<MemoryRun['best']>,
  plan: FinetunePlan,
): Promise<BrowserCandidate> {
  const bytes = await run.modelWith(weights, metadataOf(plan, 'snapshot', [step]))
  return { name: 'best', step, metrics, bytes }
}

/** The averaged model with batch-norm statistics that fit it. */
async function recalibrated(
  session: TrainingSession,
  stale: Uint8Array,
  { onEvent, signal }: RunContext,
): Promise<{ bytes: Uint8Array; calibration: Calibration | null }> {
  const { plan, engine, file, calibration: data } = session
  if (plan.settings.batchNorm === 'frozen' || countBatchNorms(file.model) === 0)
    return { bytes: stale, calibration: null }
  const averaged = await openModelBytes(stale)
  const { bnMode: mode } = plan.settings
  const { batchSize, seed, transforms } = plan
  const settings = { mode, batchSize, seed, transforms: transforms.eval }
  const { replacements, metadata, calibration } = await calibrate(engine, averaged, data, settings, {
    onProgress: (done, total) =>
      onEvent({ kind: 'progress', label: 'recalibrate', done, total, unit: 'samples' }),
    signal,
  })
  return { bytes: await patchModel(averaged, replacements, metadata), calibration }
}
