/** The training part of a run: the loop's stops, where it logs, validates, takes snapshots and saves what resume needs. */

import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { graphFingerprint, RunningAverage } from '../averaging/index.ts'
import { evaluateModel } from '../eval/evaluate.ts'
import { evaluationSource } from '../eval/inference-form.ts'
import type { Metrics } from '../eval/metrics.ts'
import type { Traffic } from '../runtime/engine.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { InputError } from '../util/errors.ts'
import { initialState } from './initial-state.ts'
import { DIVERGED, interruptedAfter, runLoop } from './loop.ts'
import { MetricsLog } from './metrics-log.ts'
import type { FinetuneContext, FinetuneOptions } from './options.ts'
import { loadState, rewind, saveState, type Progress, type RunFolder } from './run-folder.ts'
import { isSnapshot, learningRateAt } from './schedules.ts'
import { describeMetrics, scoreOf } from '../eval/score.ts'
import { evaluationBatches, feedsFrom, stepInputs, type TrainingSession } from './session.ts'
import { THETA } from './state-writer.ts'
import { narrowWeights, weightsOfState, writeModelWith, writeSnapshot, type Weights } from './weights.ts'

/** State is saved at least this often, so that a kill costs little. */
const SAVE_INTERVAL_MS = 60_000

/** The training part of a run: its progress, average and log. */
export class Training {
  readonly average: RunningAverage
  progress: Progress
  readonly #run: RunFolder
  readonly #session: TrainingSession
  readonly #options: FinetuneOptions
  readonly #context: FinetuneContext
  #log: MetricsLog
  /** Of the steps before this process. */
  readonly #trafficBefore: Traffic
  #notesShown = 0
  #savedAt = performance.now()

  private constructor(
    run: RunFolder,
    session: TrainingSession,
    options: FinetuneOptions,
    context: FinetuneContext,
    progress: Progress,
    average: RunningAverage,
    log: MetricsLog,
  ) {
    this.#run = run
    this.#session = session
    this.#options = options
    this.#context = context
    this.progress = progress
    this.average = average
    this.#log = log
    this.#trafficBefore = progress.traffic
  }

  /** Takes up the newest saved state, or begins. */
  static async open(
    run: RunFolder,
    session: TrainingSession,
    options: FinetuneOptions,
    context: FinetuneContext,
  ): Promise<Training> {
    const { graph, training, trainer, file } = session
    const shared = {
      segments: training.parameters.segments,
      fingerprint: await graphFingerprint(file.model),
      narrow: narrowWeights(graph),
    }
    const saved = await loadState(run)
    const progress = saved?.progress ?? NEW_RUN
    if (saved && saved.damaged.length > 0) {
      const message = `run ${run.path}: damaged or missing in state/: ${saved.damaged.join(', ')}; the state before it, after step ${progress.step}, is taken`
      context.onEvent({ kind: 'warning', message })
    }
    checkBest(run, progress)
    await rewind(run, progress)
    await trainer.writeState(saved?.tensors ?? (await initialState(graph, training)))
    const average =
      saved && progress.snapshots.length > 0
        ? await RunningAverage.load(saved.path('average'), shared)
        : new RunningAverage(shared)
    const log = await MetricsLog.open(run.metrics, progress.metricsBytes)
    return new Training(run, session, options, context, progress, average, log)
  }

  /** Trains to the end of the schedule. */
  async run(): Promise<void> {
    const { plan, trainer, val } = this.#session
    const { signal } = this.#context
    if (this.progress.step === 0 && val && !this.progress.start) {
      const start = await this.validate(this.#options.model, 'start', 0)
      this.progress = { ...this.progress, start }
    }
    const reading = new AbortController()
    try {
      if (this.progress.unfinished) await this.#stop(this.progress.step)
      await runLoop({
        trainer,
        firstStep: this.progress.step,
        lastStep: plan.steps,
        batches: feedsFrom(this.#session, this.progress.step, reading.signal),
        scalarsAt: step => stepInputs(this.#session, step, learningRateAt(plan.schedule, step - 1)),
        isStop: step => this.#isDue(step) || performance.now() - this.#savedAt > SAVE_INTERVAL_MS,
        onStop: step => this.#stop(step),
        onStep: (step, metrics) => {
          this.#showNotes()
          this.#count(step, metrics.get('loss')!)
        },
        signal,
      })
    } finally {
      reading.abort()
      await this.#log.close()
    }
  }

  /** Measures a model file on the validation data and logs it. */
  async validate(path: string, what: string, step: number): Promise<Metrics> {
    const { engine, plan, val, measure, output } = this.#session
    const { signal, onEvent } = this.#context
    const metrics = await evaluateModel(
      engine,
      await evaluationSource(path),
      evaluationBatches(this.#session, val!, signal),
      {
        ...measure,
        output,
        ignoreIndex: plan.settings.ignoreIndex,
        threads: this.#options.threads,
        signal,
        onProgress: done =>
          onEvent({ kind: 'progress', label: `validate ${what}`, done, total: val!.length, unit: 'samples' }),
      },
    )
    onEvent({ kind: 'validated', what, step, summary: describeMetrics(metrics) })
    return metrics
  }

  #isDue(step: number): boolean {
    const { plan } = this.#session
    return step % plan.batchesPerEpoch === 0 || step % plan.evalEvery === 0 || isSnapshot(plan.schedule, step)
  }

  /** An engine may learn from the first steps how the program runs. */
  #showNotes(): void {
    const { notes } = this.#session.trainer
    for (const message of notes.slice(this.#notesShown)) this.#context.onEvent({ kind: 'note', message })
    this.#notesShown = notes.length
  }

  #count(step: number, loss: number): void {
    const { plan } = this.#session
    const { pending } = this.progress
    this.progress = {
      ...this.progress,
      step,
      pending: { loss: pending.loss + loss, steps: pending.steps + 1 },
    }
    const lr = learningRateAt(plan.schedule, step - 1)
    this.#context.onEvent({ kind: 'step', step, steps: plan.steps, loss, lr })
  }

  /** The loop stands still after `step`: log, validate, snapshot, save; in this order, so that what is saved is complete. */
  async #stop(step: number): Promise<void> {
    const state = await this.#session.trainer.readState()
    checkState(step, state)
    const before = this.progress
    const bytes = this.#log.bytes
    try {
      if (this.#isDue(step) || step === this.#session.plan.steps) await this.#doWork(step, state)
      this.progress = { ...this.progress, unfinished: false }
    } catch (error) {
      if (!this.#context.signal?.aborted) throw error
      // The steps are done and kept; their stop's work is begun again. What it has logged is cut off then.
      this.progress = { ...before, unfinished: true }
      await this.#save(state, bytes)
      throw interruptedAfter(step, this.#session.plan.steps, error)
    }
    await this.#save(state, this.#log.bytes)
  }

  /** What is due at a stop. The average is the last to change: what comes before may be interrupted. */
  async #doWork(step: number, state: ReadonlyMap<string, Tensor>): Promise<void> {
    const { plan, training } = this.#session
    const weights = weightsOfState(training, state)
    await this.#logTraining(step)
    const metrics = await this.#validateWeights(weights, step)
    if (isSnapshot(plan.schedule, step)) await this.#snapshot(step, state, weights, metrics)
    if (step === plan.steps) this.progress = { ...this.progress, last: metrics }
  }

  async #save(state: ReadonlyMap<string, Tensor>, metricsBytes: number): Promise<void> {
    await this.#log.flush()
    const traffic = sumTraffic(this.#trafficBefore, this.#session.trainer.traffic)
    this.progress = { ...this.progress, metricsBytes, traffic }
    const average = { name: 'average', write: (path: string) => this.average.save(path) }
    await saveState(this.#run, this.progress, state, this.average.members.length > 0 ? [average] : [])
    this.#savedAt = performance.now()
  }

  async #logTraining(step: number): Promise<void> {
    const { plan } = this.#session
    const { pending } = this.progress
    if (pending.steps === 0) return
    const metrics = { loss: pending.loss / pending.steps, lr: learningRateAt(plan.schedule, step - 1) }
    await this.#log.append({ step, epoch: step / plan.batchesPerEpoch, split: 'train', metrics })
    this.progress = { ...this.progress, pending: { loss: 0, steps: 0 } }
  }

  async #validateWeights(weights: Weights, step: number): Promise<Metrics | null> {
    const { plan, val, file, graph } = this.#session
    const due = step % plan.evalEvery === 0 || step === plan.steps || isSnapshot(plan.schedule, step)
    if (!val || !due) return null
    const path = this.#run.file('.validated.onnx')
    await writeModelWith(file, graph, weights, path, new Map())
    let metrics: Metrics
    try {
      metrics = await this.validate(path, `step ${step}`, step)
    } finally {
      await rm(path, { force: true })
      await rm(`${path}.data`, { force: true })
    }
    await this.#log.append({
      step,
      epoch: step / plan.batchesPerEpoch,
      split: 'val',
      metrics: { ...metrics },
    })
    return metrics
  }

  async #snapshot(
    step: number,
    state: ReadonlyMap<string, Tensor>,
    weights: Weights,
    metrics: Metrics | null,
  ): Promise<void> {
    const { training } = this.#session
    await writeSnapshot(this.#run.snapshot(step), weights, step)
    const buffers = new Map(training.statistics.segments.map(({ name }) => [name, weights.get(name)!]))
    const theta = state.get(THETA)!.view() as Float32Array
    this.average.add({ theta, buffers }, { name: `step-${step}`, ordinal: step })
    const { best } = this.progress
    const better = metrics && (!best || scoreOf(metrics) > scoreOf(best.metrics))
    this.progress = {
      ...this.progress,
      snapshots: [...this.progress.snapshots, step],
      best: better ? { step, metrics } : best,
    }
    this.#context.onEvent({ kind: 'snapshot', step, count: this.progress.snapshots.length })
  }
}

/** The best snapshot is delivered at the end: that it is gone must show before hours of training. */
function checkBest(run: RunFolder, { best }: Progress): void {
  if (!best || existsSync(run.snapshot(best.step))) return
  throw new InputError(`run ${run.path}: the best snapshot is missing: ${run.snapshot(best.step)}`, {
    cure: 'put the file back, or start anew in another --run folder',
  })
}

/**
 * The loss of a step is that of the weights before it: weights that a step broke show in the loss of the next. They must
 * not be saved in the meantime.
 */
function checkState(step: number, state: ReadonlyMap<string, Tensor>): void {
  for (const [name, tensor] of state) {
    if (isFinite(tensor.view() as Float32Array)) continue
    throw new InputError(`training: ${name} holds values that are not finite after step ${step}`, {
      cure: DIVERGED,
    })
  }
}

function isFinite(values: Float32Array): boolean {
  for (const value of values) if (!Number.isFinite(value)) return false
  return true
}

function sumTraffic(a: Traffic, b: Traffic): Traffic {
  return {
    steps: a.steps + b.steps,
    runs: a.runs + b.runs,
    batchBytes: a.batchBytes + b.batchBytes,
    stateBytes: a.stateBytes + b.stateBytes,
  }
}

const NEW_RUN: Progress = {
  step: 0,
  traffic: { steps: 0, runs: 0, batchBytes: 0, stateBytes: 0 },
  unfinished: false,
  metricsBytes: 0,
  snapshots: [],
  start: null,
  best: null,
  last: null,
  pending: { loss: 0, steps: 0 },
}
