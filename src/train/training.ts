/** The training part of a run: the loop's stops, where it logs, validates, takes snapshots and saves what resume needs. */

import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { graphFingerprint, RunningAverage } from '../averaging/index.ts'
import { evaluateModel } from '../eval/evaluate.ts'
import { evaluationSource } from '../eval/inference-form.ts'
import type { Metrics } from '../eval/metrics.ts'
import type { StepMetrics, Traffic } from '../runtime/engine.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { InputError } from '../util/errors.ts'
import { Course } from './course.ts'
import { writeCurrentAverage } from './current-average.ts'
import { initialState } from './initial-state.ts'
import { scalingMetrics } from './loss-scaling.ts'
import { DIVERGED, interruptedAfter, runLoop } from './loop.ts'
import { MetricsLog } from './metrics-log.ts'
import type { FinetuneContext, FinetuneOptions } from './options.ts'
import { afterValidation, describeEarlyStop, FRESH } from './patience.ts'
import { NO_TRAFFIC, sumTraffic } from './phases.ts'
import { loadState, rewind, saveState, type Pending, type Progress, type RunFolder } from './run-folder.ts'
import { describeMetrics, scoreOf } from '../eval/score.ts'
import { evaluationBatches, feedsFrom, stepInputs, type TrainingSession } from './session.ts'
import { ACCUMULATED, THETA } from './state-writer.ts'
import { narrowWeights, weightsOfState, writeModelWith, writeSnapshot, type Weights } from './weights.ts'

/** State is saved at least this often, so that a kill costs little. */
const SAVE_INTERVAL_MS = 60_000

/** The training part of a run: its progress, average and log. */
export class Training {
  readonly average: RunningAverage
  progress: Progress
  course: Course
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
    this.course = new Course(session.plan, progress.swaStart)
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
    await trainer.enter(progress.batches)
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
    const { val } = this.#session
    if (this.progress.batches === 0 && val && !this.progress.start) {
      const start = await this.validate(this.#options.model, 'start', 0)
      this.progress = { ...this.progress, start }
    }
    try {
      if (this.progress.unfinished) await this.#stop(this.progress.batches)
      while (this.progress.batches < this.course.batches) await this.#runPhase()
    } finally {
      await this.#log.close()
    }
  }

  /** Trains to the end of a phase, which early stopping may bring forward. */
  async #runPhase(): Promise<void> {
    const { trainer } = this.#session
    const { signal } = this.#context
    await trainer.enter(this.progress.batches)
    this.#notesShown = 0
    const reading = new AbortController()
    const ofCourse = () => this.course
    const { until } = trainer
    try {
      await runLoop({
        trainer,
        firstStep: this.progress.batches,
        get lastStep() {
          return Math.min(until, ofCourse().batches)
        },
        batches: feedsFrom(this.#session, this.progress.batches, reading.signal),
        scalarsAt: batch =>
          stepInputs(this.#session, batch, this.course.learningRate(this.course.stepOf(batch))),
        isStop: batch => this.course.endsStep(batch) && this.#wantsStop(this.course.stepOf(batch)),
        onStop: batch => this.#stop(batch),
        onStep: (batch, metrics) => {
          this.#showNotes()
          this.#count(batch, metrics)
        },
        stepOf: batch => this.course.stepOf(batch),
        interrupted: () => this.#interrupted(),
        signal,
      })
      if (signal?.aborted && this.progress.batches < this.course.batches) throw this.#interrupted()
    } finally {
      reading.abort()
    }
  }

  #interrupted(cause?: unknown) {
    return interruptedAfter(this.progress.step, this.course.steps, cause)
  }

  /** Measures a model file on the validation data and logs it. */
  async validate(path: string, what: string, step: number): Promise<Metrics> {
    const { engine, val, measured, graph } = this.#session
    const { signal, onEvent } = this.#context
    const metrics = await evaluateModel(
      engine,
      await evaluationSource(path),
      evaluationBatches(this.#session, val!, signal),
      {
        measured,
        loss: graph.ownLoss?.toMeasure ?? null,
        threads: this.#options.threads,
        signal,
        onProgress: done =>
          onEvent({ kind: 'progress', label: `validate ${what}`, done, total: val!.length, unit: 'samples' }),
      },
    )
    onEvent({ kind: 'validated', what, step, summary: describeMetrics(metrics) })
    return metrics
  }

  #wantsStop(step: number): boolean {
    return this.course.isDue(step) || performance.now() - this.#savedAt > SAVE_INTERVAL_MS
  }

  /** An engine may learn from the first steps how the program runs. */
  #showNotes(): void {
    const { notes } = this.#session.trainer
    for (const message of notes.slice(this.#notesShown)) this.#context.onEvent({ kind: 'note', message })
    this.#notesShown = notes.length
  }

  #count(batch: number, metrics: StepMetrics): void {
    const { pending } = this.progress
    const step = this.course.stepOf(batch)
    const loss = metrics.get('loss')!
    const ends = this.course.endsStep(batch)
    const { loss: sum, batches, gradNorm, steps } = pending
    // Mixed precision skips steps whose numbers are not finite.
    const counted = Number.isFinite(loss)
    const norm = metrics.get('grad_norm') ?? 0
    this.progress = {
      ...this.progress,
      ...{ batches: batch, step: ends ? step : step - 1 },
      pending: {
        ...{ loss: sum + (counted ? loss : 0), batches: batches + Number(counted) },
        // The norm of gradients that are not all there says nothing.
        gradNorm: gradNorm + (ends && Number.isFinite(norm) ? norm : 0),
        steps: steps + Number(ends && Number.isFinite(norm)),
      },
    }
    if (!ends) return
    const lr = this.course.learningRate(step)
    this.#context.onEvent({ kind: 'step', step, steps: this.course.steps, loss, lr })
  }

  /** The loop stands still after a batch: log, validate, snapshot, save; in this order, so that what is saved is complete. */
  async #stop(batch: number): Promise<void> {
    const { step } = this.progress
    const state = await this.#session.trainer.readState()
    checkState(step, state)
    const before = this.progress
    const bytes = this.#log.bytes
    try {
      // Interrupted between two optimizer steps, a run has nothing to do but to save.
      if (this.course.endsStep(batch) && this.course.isDue(step)) await this.#doWork(step, state)
      this.progress = { ...this.progress, unfinished: false }
    } catch (error) {
      if (!this.#context.signal?.aborted) throw error
      // The steps are done and kept; their stop's work is begun again. What it has logged is cut off then.
      this.progress = { ...before, unfinished: true }
      await this.#save(state, bytes)
      throw this.#interrupted(error)
    }
    await this.#save(state, this.#log.bytes)
  }

  /** What is due at a stop. The average is the last to change: what comes before may be interrupted. */
  async #doWork(step: number, state: ReadonlyMap<string, Tensor>): Promise<void> {
    const weights = weightsOfState(this.#session.training, state)
    await this.#logTraining(step, state)
    const metrics = await this.#validateWeights(weights, step)
    if (step === this.course.steps) this.progress = { ...this.progress, last: metrics }
    else if (metrics) this.#stopEarly(step, metrics)
    if (this.course.isSnapshot(step)) await this.#snapshot(step, state, weights, metrics)
  }

  /** Brings the SWA phase forward when validations have not improved for as long as the plan says. */
  #stopEarly(step: number, metrics: Metrics): void {
    const { plan } = this.#session
    const { patience: wanted, metric } = plan.settings
    if (wanted === null || !this.course.isBeforeSwa(step)) return
    const patience = afterValidation(this.progress.patience, scoreOf(metrics, metric ?? undefined))
    this.progress = { ...this.progress, patience }
    if (patience.misses < wanted) return
    const planned = this.course.steps
    this.progress = { ...this.progress, swaStart: step }
    this.course = new Course(plan, step)
    const message = describeEarlyStop(step, wanted, this.course.steps, planned)
    this.#context.onEvent({ kind: 'note', message })
  }

  async #save(state: ReadonlyMap<string, Tensor>, metricsBytes: number): Promise<void> {
    await this.#log.flush()
    const traffic = sumTraffic(this.#trafficBefore, this.#session.trainer.traffic)
    this.progress = { ...this.progress, metricsBytes, traffic }
    const average = { name: 'average', write: (path: string) => this.average.save(path) }
    await saveState(this.#run, this.progress, state, this.average.members.length > 0 ? [average] : [])
    this.#savedAt = performance.now()
  }

  async #logTraining(step: number, state: ReadonlyMap<string, Tensor>): Promise<void> {
    const { loss, batches, gradNorm, steps } = this.progress.pending
    if (batches === 0) return
    const { clip } = this.#session.plan.settings
    const metrics = {
      ...{ loss: loss / batches, lr: this.course.learningRate(step) },
      ...(clip?.kind === 'norm' && steps > 0 ? { grad_norm: gradNorm / steps } : {}),
      ...scalingMetrics(state),
    }
    await this.#log.append({ step, epoch: this.course.epoch(step), split: 'train', metrics })
    this.progress = { ...this.progress, pending: NOTHING_PENDING }
  }

  async #validateWeights(weights: Weights, step: number): Promise<Metrics | null> {
    const { val, file, graph } = this.#session
    if (!val || !this.course.isValidation(step)) return null
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
      epoch: this.course.epoch(step),
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
    const { training, plan } = this.#session
    await writeSnapshot(this.#run.snapshot(step), weights, step)
    const buffers = new Map(training.statistics.segments.map(({ name }) => [name, weights.get(name)!]))
    const theta = state.get(THETA)!.view() as Float32Array
    this.average.add({ theta, buffers }, { name: `step-${step}`, ordinal: step })
    const { best } = this.progress
    const score = (of: Metrics) => scoreOf(of, plan.settings.metric ?? undefined)
    const better = metrics && (!best || score(metrics) > score(best.metrics))
    this.progress = {
      ...this.progress,
      snapshots: [...this.progress.snapshots, step],
      best: better ? { step, metrics } : best,
    }
    await writeCurrentAverage(this.#run, this.#session, this.average, this.progress.snapshots)
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
 * not be saved in the meantime. Gradients that are added up may be no numbers where their loss is scaled: their step is
 * skipped then.
 */
function checkState(step: number, state: ReadonlyMap<string, Tensor>): void {
  for (const [name, tensor] of state) {
    if (name === ACCUMULATED || isFinite(tensor.view() as Float32Array)) continue
    throw new InputError(`training: ${name} holds values that are not finite after step ${step}`, {
      cure: DIVERGED,
    })
  }
}

function isFinite(values: Float32Array): boolean {
  for (const value of values) if (!Number.isFinite(value)) return false
  return true
}

const NOTHING_PENDING: Pending = { loss: 0, batches: 0, gradNorm: 0, steps: 0 }

const NEW_RUN: Progress = {
  step: 0,
  batches: 0,
  traffic: NO_TRAFFIC,
  unfinished: false,
  metricsBytes: 0,
  snapshots: [],
  start: null,
  best: null,
  last: null,
  pending: NOTHING_PENDING,
  patience: FRESH,
  swaStart: null,
}
