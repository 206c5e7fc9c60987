/** The training part of a run whose every file is in memory: Node's Training without a folder, and without resuming. */

import { graphFingerprint, SnapshotAverage } from '../averaging/index.ts'
import { evaluateModel } from '../eval/evaluate.ts'
import { inferenceSource } from '../eval/inference-form.ts'
import type { Metrics } from '../eval/metrics.ts'
import { describeMetrics, scoreOf } from '../eval/score.ts'
import type { StepMetrics } from '../runtime/engine.ts'
import { openModelBytes, patchModel } from '../serde/index.ts'
import { sizeOf } from '../tensor/shape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { initialState } from '../train/initial-state.ts'
import { Course } from '../train/course.ts'
import { runLoop } from '../train/loop.ts'
import { afterValidation, describeEarlyStop, FRESH, type Patience } from '../train/patience.ts'
import { evaluationBatches, feedsFrom, stepInputs, type TrainingSession } from '../train/session.ts'
import { THETA } from '../train/state-writer.ts'
import { movingAverage, placeWeights, weightsOfState, type Weights } from '../train/weights.ts'
import { InterruptedError } from '../util/errors.ts'
import type { RunContext } from './events.ts'

/** A snapshot that validated better than those before it. */
export interface BestSnapshot {
  readonly step: number
  readonly metrics: Metrics
  readonly weights: Weights
}

export class MemoryRun {
  readonly average: SnapshotAverage
  readonly snapshots: number[] = []
  start: Metrics | null = null
  best: BestSnapshot | null = null
  /** The weights after the last step, and how they validate. */
  last: {
    readonly weights: Weights
    readonly metrics: Metrics | null
    readonly moving: ReturnType<typeof movingAverage>
  } | null = null
  course: Course
  #patience: Patience = FRESH
  readonly #session: TrainingSession
  readonly #context: RunContext

  private constructor(session: TrainingSession, context: RunContext, average: SnapshotAverage) {
    this.#session = session
    this.#context = context
    this.average = average
    this.course = new Course(session.plan)
  }

  /** Begins at the model's own weights. */
  static async open(session: TrainingSession, context: RunContext): Promise<MemoryRun> {
    const { file, graph, training, trainer } = session
    const average = new SnapshotAverage({
      segments: training.parameters.segments,
      fingerprint: await graphFingerprint(file.model),
    })
    await trainer.enter(0)
    await trainer.writeState(await initialState(graph, training))
    return new MemoryRun(session, context, average)
  }

  /** Trains to the end of the schedule. */
  async train(): Promise<void> {
    const { val } = this.#session
    if (val) this.start = await this.validate(await this.modelWith(new Map()), 'start', 0)
    for (let done = 0; done < this.course.batches;) done = await this.#runPhase(done)
  }

  /** Trains to the end of the phase that comes after so many batches; returns the batches done then. */
  async #runPhase(done: number): Promise<number> {
    const session = this.#session
    const { trainer } = session
    const { signal } = this.#context
    await trainer.enter(done)
    const { until } = trainer
    const end = () => Math.min(until, this.course.batches)
    const reading = new AbortController()
    try {
      await runLoop({
        trainer,
        firstStep: done,
        get lastStep() {
          return end()
        },
        batches: feedsFrom(session, done, reading.signal),
        scalarsAt: batch => stepInputs(session, batch, this.course.learningRate(this.course.stepOf(batch))),
        isStop: batch => this.course.endsStep(batch) && this.course.isValidation(this.course.stepOf(batch)),
        onStop: batch => this.#stop(batch),
        onStep: (batch, metrics) => this.#report(batch, metrics),
        stepOf: batch => this.course.stepOf(batch),
        signal,
      })
      return end()
    } catch (error) {
      throw signal?.aborted ? new InterruptedError('training was stopped', { cause: error }) : error
    } finally {
      reading.abort()
    }
  }

  /** The model file with other weights. */
  async modelWith(weights: Weights, metadata: ReadonlyMap<string, string> = new Map()): Promise<Uint8Array> {
    const { file, graph } = this.#session
    return patchModel(file, await placeWeights(graph, weights), metadata)
  }

  /** Measures a model file on the validation data. */
  async validate(model: Uint8Array, what: string, step: number): Promise<Metrics> {
    const { engine, val, measured, graph } = this.#session
    const { signal, onEvent } = this.#context
    const file = await openModelBytes(model)
    const batches = evaluationBatches(this.#session, val!, signal)
    const metrics = await evaluateModel(engine, await inferenceSource(file, model), batches, {
      measured,
      loss: graph.ownLoss?.toMeasure ?? null,
      signal,
      onProgress: done =>
        onEvent({ kind: 'progress', label: `validate ${what}`, done, total: val!.length, unit: 'samples' }),
    })
    onEvent({ kind: 'validated', what, step, summary: describeMetrics(metrics), metrics })
    return metrics
  }

  #report(batch: number, metrics: StepMetrics): void {
    if (!this.course.endsStep(batch)) return
    const step = this.course.stepOf(batch)
    const [correct, answers] = [metrics.get('correct'), answersOf(this.#session)]
    this.#context.onEvent({
      ...{ kind: 'step', step, steps: this.course.steps, loss: metrics.get('loss')! },
      lr: this.course.learningRate(step),
      accuracy: correct === undefined || answers === null ? null : correct / answers,
    })
  }

  /** The loop stands still after `step`: validate, take a snapshot. */
  async #stop(batch: number): Promise<void> {
    const step = this.course.stepOf(batch)
    if (!this.course.endsStep(batch) || !this.course.isValidation(step)) return
    const { training, trainer, val } = this.#session
    const state = await trainer.readState()
    const weights = weightsOfState(training, state)
    const metrics = val ? await this.validate(await this.modelWith(weights), `step ${step}`, step) : null
    if (step === this.course.steps) this.last = { weights, metrics, moving: movingAverage(training, state) }
    else if (metrics) this.#stopEarly(step, metrics)
    if (this.course.isSnapshot(step)) this.#snapshot(step, state, weights, metrics)
  }

  /** Brings the SWA phase forward when validations have not improved for as long as the plan says. */
  #stopEarly(step: number, metrics: Metrics): void {
    const { plan } = this.#session
    const { patience: wanted, metric } = plan.settings
    if (wanted === null || !this.course.isBeforeSwa(step)) return
    this.#patience = afterValidation(this.#patience, scoreOf(metrics, metric ?? undefined))
    if (this.#patience.misses < wanted) return
    const planned = this.course.steps
    this.course = new Course(plan, step)
    const message = describeEarlyStop(step, wanted, this.course.steps, planned)
    this.#context.onEvent({ kind: 'note', message })
  }

  #snapshot(
    step: number,
    state: ReadonlyMap<string, Tensor>,
    weights: Weights,
    metrics: Metrics | null,
  ): void {
    const { training, plan } = this.#session
    const score = (of: Metrics) => scoreOf(of, plan.settings.metric ?? undefined)
    const buffers = new Map(training.statistics.segments.map(({ name }) => [name, weights.get(name)!]))
    const theta = state.get(THETA)!.view() as Float32Array
    this.average.add({ theta, buffers }, { name: `step-${step}`, ordinal: step })
    this.snapshots.push(step)
    if (metrics && (!this.best || score(metrics) > score(this.best.metrics)))
      this.best = { step, metrics, weights }
    this.#context.onEvent({ kind: 'snapshot', step, count: this.snapshots.length })
  }
}

/** The answers of a batch of which `correct` are right; null for classes of elements, some of which may not count. */
function answersOf({ training, mixing, plan }: TrainingSession): number | null {
  const [target] = training.targets
  if (!target || mixing) return plan.batchSize
  if (target.dtype === 'int64') return target.shape.length === 1 ? plan.batchSize : null
  return sizeOf(target.shape)
}
