/** The end of a run: fold the average into the model, recalibrate its batch norms, compare, deliver what was asked for. */

import { rm } from 'node:fs/promises'
import { basename } from 'node:path'
import { calibrateFile, type Calibration } from '../eval/calibrate.ts'
import { countBatchNorms } from '../passes/index.ts'
import { loadModel, writePatched } from '../serde/index.ts'
import { InputError } from '../util/errors.ts'
import { sha256File, writeFileAtomic } from '../util/files.ts'
import { VERSION } from '../util/version.ts'
import type { Engine } from '../runtime/engine.ts'
import { removeCurrentAverage } from './current-average.ts'
import { metadataOf, select, winner, type CandidateName, type Measured } from './candidates.ts'
import { checkEngine, type EngineCheck } from './check-engine.ts'
import type { FinetuneContext, FinetuneOptions } from './options.ts'
import { loadState, type Progress, type RunFolder } from './run-folder.ts'
import type { TrainingSession } from './session.ts'
import type { Training } from './training.ts'
import { movingAverage, readSnapshot, weightsOfState, writeModelWith, type Weights } from './weights.ts'

export interface Candidate extends Measured {
  /** The model file. */
  readonly path: string
}

export interface FinetuneResult {
  readonly run: string
  readonly steps: number
  readonly snapshots: readonly number[]
  readonly candidates: readonly Candidate[]
  /** The candidate that was delivered, and where. */
  readonly selected: CandidateName
  readonly model: string
  /** Whether nothing else validated better than the average; null without validation data. */
  readonly swaIsBest: boolean | null
  /** Batch norms recalibrated, and the samples they saw. */
  readonly recalibrated: { readonly sites: number; readonly samples: number } | null
  /** What crossed to the device and back; null for an engine without one. */
  readonly traffic: TrafficSummary | null
  /** The delivered model on the engine of the run and on the CPU; null on the CPU, and where it could not be compared. */
  readonly crossValidation: EngineCheck | null
}

export interface TrafficSummary {
  readonly batchBytesPerStep: number
  readonly stateBytesPerStep: number
  readonly stepsPerRun: number
}

/** Does all of it; running it again gives the same files. */
export async function finish(
  run: RunFolder,
  session: TrainingSession,
  training: Training,
  options: FinetuneOptions,
  context: FinetuneContext,
): Promise<FinetuneResult> {
  const { plan, file, graph, val } = session
  const { progress, average, course } = training
  const { steps } = course
  const metadata = (method: string, snapshots: readonly number[]) => metadataOf(plan, method, snapshots)

  // 1. The last weights, and the best snapshot's.
  const saved = await loadState(run)
  if (!saved) throw new InputError(`run ${run.path}: the state of the last step is missing`)
  const last = run.file('last.onnx')
  await writeModelWith(
    file,
    graph,
    weightsOfState(session.training, saved.tensors),
    last,
    metadata('last', [steps]),
  )
  const best = run.file('best.onnx')
  const bestStep = progress.best?.step
  if (bestStep !== undefined) {
    const weights = await readSnapshot(run.snapshot(bestStep), session.training)
    await writeModelWith(file, graph, weights, best, metadata('snapshot', [bestStep]))
  }

  // 2. The averages, with batch-norm statistics that fit them.
  await average.save(run.average)
  const swa = run.file('averaged.onnx')
  const report = await writeAverage(
    run,
    session,
    average.mean(),
    swa,
    metadata('swa', progress.snapshots),
    context,
  )

  await removeCurrentAverage(run)

  const moving = movingAverage(session.training, saved.tensors)
  const ema = run.file('ema.onnx')
  if (moving) await writeAverage(run, session, moving, ema, metadata('ema', [steps]), context)

  // 3. All of them side by side on the validation data.
  const swaMetrics = val ? await training.validate(swa, 'swa', steps) : null
  const emaMetrics = val && moving ? await training.validate(ema, 'ema', steps) : null
  const candidates: Candidate[] = [
    { name: 'start', path: options.model, step: 0, metrics: progress.start },
    { name: 'last', path: last, step: steps, metrics: progress.last },
    ...(progress.best ? [{ name: 'best' as const, path: best, ...progress.best }] : []),
    ...(moving ? [{ name: 'ema' as const, path: ema, step: steps, metrics: emaMetrics }] : []),
    { name: 'swa', path: swa, step: steps, metrics: swaMetrics },
  ]
  const { metric } = plan.settings
  const selected = select(candidates, plan.settings.select, metric)
  const model = run.file('model.onnx')
  await copyModel(candidates.find(({ name }) => name === selected)!.path, model)
  const result: FinetuneResult = {
    run: run.path,
    steps,
    snapshots: progress.snapshots,
    candidates,
    selected,
    model,
    swaIsBest: swaMetrics && winner(candidates, metric) === 'swa',
    recalibrated: report && { sites: report.sites.length, samples: report.samples },
    traffic: trafficOf(session, progress),
    crossValidation: await checkEngine(session, model, options, context),
  }
  await writeManifest(run, session.engine, result, [
    last,
    swa,
    model,
    ...(bestStep === undefined ? [] : [best]),
    ...(moving ? [ema] : []),
    run.average,
  ])
  return result
}

/** Writes the averaged model; returns what recalibration did, null where there was nothing to recalibrate. */
async function writeAverage(
  run: RunFolder,
  session: TrainingSession,
  mean: { theta: Float32Array; buffers: Weights },
  path: string,
  metadata: ReadonlyMap<string, string>,
  context: FinetuneContext,
): Promise<Calibration | null> {
  const { plan, file, graph, training, engine, calibration } = session
  const weights: Weights = new Map([...training.parameters.unpack(mean.theta), ...mean.buffers])
  if (plan.settings.batchNorm === 'frozen' || countBatchNorms(file.model) === 0) {
    await writeModelWith(file, graph, weights, path, metadata)
    return null
  }
  const stale = run.file('.uncalibrated.onnx')
  await writeModelWith(file, graph, weights, stale, metadata)
  const averaged = await loadModel(stale)
  try {
    const settings = {
      out: path,
      mode: plan.settings.bnMode,
      batchSize: plan.batchSize,
      seed: plan.seed,
      transforms: plan.transforms.eval,
    }
    return await calibrateFile(engine, averaged, calibration, settings, {
      onProgress: (done, total) =>
        context.onEvent({ kind: 'progress', label: 'recalibrate', done, total, unit: 'samples' }),
      signal: context.signal,
    })
  } finally {
    await averaged.close()
    await rm(stale, { force: true })
    await rm(`${stale}.data`, { force: true })
  }
}

/** A model and its external data under another name; the data file of our writer is named after the model. */
async function copyModel(from: string, to: string): Promise<void> {
  const file = await loadModel(from)
  try {
    await writePatched(file, to, new Map(), new Map())
  } finally {
    await file.close()
  }
}

/** Per step: totals say nothing about a run of another length. */
function trafficOf({ engine }: TrainingSession, { traffic }: Progress): TrafficSummary | null {
  const { steps, runs, batchBytes, stateBytes } = traffic
  if (engine.capabilities.state === 'process' || steps === 0) return null
  return {
    batchBytesPerStep: batchBytes / steps,
    stateBytesPerStep: stateBytes / steps,
    stepsPerRun: steps / runs,
  }
}

async function writeManifest(
  run: RunFolder,
  { name, description, precision = 'float32' }: Engine,
  result: FinetuneResult,
  files: readonly string[],
): Promise<void> {
  const hashes: Record<string, string> = {}
  for (const path of files) hashes[basename(path)] = await sha256File(path)
  const { candidates, selected, snapshots, steps, swaIsBest, recalibrated, traffic, crossValidation } = result
  const models = candidates.map(({ name, path, step, metrics }) => ({
    name,
    file: basename(path),
    step,
    metrics,
  }))
  const engine = { name, description, precision }
  const manifest = {
    version: VERSION,
    steps,
    snapshots,
    selected,
    swaIsBest,
    recalibrated,
    engine,
    traffic,
    crossValidation,
    models,
    sha256: hashes,
  }
  await writeFileAtomic(run.manifest, `${JSON.stringify(manifest, null, 2)}\n`)
}
