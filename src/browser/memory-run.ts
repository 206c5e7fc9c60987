/** The training part of a run whose every file is in memory: Node's Training without a folder, and without resuming. */

import { graphFingerprint, SnapshotAverage } from '../averaging/index.ts'
import { evaluateModel } from '../eval/evaluate.ts'
import { inferenceSource } from '../eval/inference-form.ts'
import type { Metrics } from '../eval/metrics.ts'
import { describeMetrics, scoreOf } from '../eval/score.ts'
import type { StepMetrics } from '../runtime/engine.ts'
import { openModelBytes, patchModel } from '../serde/index.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { initialState } from '../train/initial-state.ts'
import { runLoop } from '../train/loop.ts'
import { isSnapshot, learningRateAt } from '../train/schedules.ts'
import { evaluationBatches, feedsFrom, stepInputs, type TrainingSession } from '../train/session.ts'
import { THETA } from '../train/state-writer.ts'
import { placeWeights, weightsOfState, type Weights } from '../train/weights.ts'
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
  last: { readonly weights: Weights; readonly metrics: Metrics | null } | null = null
  readonly #session: TrainingSession
  readonly #context: RunContext

  private constructor(session: TrainingSession, context: RunContext, average: SnapshotAverage) {
    this.#session = session
    this.#context = context
    this.average = average
  }

  /** Begins at the model's own weights. */
  static async open(session: TrainingSession, context: RunContext): Promise<MemoryRun> {
    const { file, graph, training, trainer } = session
    const average = new SnapshotAverage({
      segments: training.parameters.segments,
      fingerprint: await graphFingerprint(file.model),
    })
    await trainer.writeState(await initialState(graph, training))
    return new MemoryRun(session, context, average)
  }

  /** Trains to the end of the schedule. */
  async train(): Promise<void> {
    const session = this.#session
    const { plan, trainer, val } = session
    const { signal } = this.#context
    if (val) this.start = await this.validate(await this.modelWith(new Map()), 'start', 0)
    const reading = new AbortController()
    try {
      await runLoop({
        trainer,
        firstStep: 0,
        lastStep: plan.steps,
        batches: feedsFrom(session, 0, reading.signal),
        scalarsAt: step => stepInputs(session, step, learningRateAt(plan.schedule, step - 1)),
        isStop: step => this.#isDue(step),
        onStop: step => this.#stop(step),
        onStep: (step, metrics) => this.#report(step, metrics),
        signal,
      })
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

  #isDue(step: number): boolean {
    const { schedule, steps, evalEvery } = this.#session.plan
    return step % evalEvery === 0 || isSnapshot(schedule, step) || step === steps
  }

  #report(step: number, metrics: StepMetrics): void {
    const { plan } = this.#session
    const correct = metrics.get('correct')
    this.#context.onEvent({
      ...{ kind: 'step', step, steps: plan.steps, loss: metrics.get('loss')! },
      lr: learningRateAt(plan.schedule, step - 1),
      accuracy: correct === undefined ? null : correct / plan.batchSize,
    })
  }

  /** The loop stands still after `step`: validate, take a snapshot. */
  async #stop(step: number): Promise<void> {
    if (!this.#isDue(step)) return
    const { plan, training, trainer, val } = this.#session
    const state = await trainer.readState()
    const weights = weightsOfState(training, state)
    const metrics = val ? await this.validate(await this.modelWith(weights), `step ${step}`, step) : null
    if (isSnapshot(plan.schedule, step)) this.#snapshot(step, state, weights, metrics)
    if (step === plan.steps) this.last = { weights, metrics }
  }

  #snapshot(
    step: number,
    state: ReadonlyMap<string, Tensor>,
    weights: Weights,
    metrics: Metrics | null,
  ): void {
    const { training } = this.#session
    const buffers = new Map(training.statistics.segments.map(({ name }) => [name, weights.get(name)!]))
    const theta = state.get(THETA)!.view() as Float32Array
    this.average.add({ theta, buffers }, { name: `step-${step}`, ordinal: step })
    this.snapshots.push(step)
    if (metrics && (!this.best || scoreOf(metrics) > scoreOf(this.best.metrics)))
      this.best = { step, metrics, weights }
    this.#context.onEvent({ kind: 'snapshot', step, count: this.snapshots.length })
  }
}
