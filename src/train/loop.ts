/**
 * The training loop: batches in, steps on an engine, and stops at the steps where something is due (snapshot, validation,
 * saving). The engine says how many steps it wants at once. Between stops two such chunks are in flight: the engine works on
 * one while the data of the next are made ready.
 */

import type { Feeds, StepMetrics, Trainer } from '../runtime/engine.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { InputError, InterruptedError, invariant } from '../util/errors.ts'
import { SCALE_METRIC, SKIPPED_METRIC } from './loss-scaling.ts'

export interface LoopOptions {
  readonly trainer: Trainer
  /** Steps done before this call (0 for a new run). */
  readonly firstStep: number
  /** Steps at the end. Read anew at each step: what happens at a stop may bring the end forward. */
  readonly lastStep: number
  /** Feeds of the steps from `firstStep` on, in order. */
  readonly batches: AsyncIterable<Map<string, Tensor>>
  /** The scalars of a step (1-based), by input name. */
  readonly scalarsAt: (step: number) => ReadonlyMap<string, Tensor>
  /** Whether the loop must stand still after this step, because its state is wanted. Asked before the step is sent. */
  readonly isStop: (step: number) => boolean
  /** Called after each such step, when nothing is in flight; when interrupted, after the last step that was done. */
  readonly onStop: (step: number) => Promise<void>
  /** Called for each step, in order. */
  readonly onStep: (step: number, metrics: StepMetrics) => void
  /** The step as a person counts it, where several of the loop's make one. Default: the same. */
  readonly stepOf?: (step: number) => number
  /** The error of an interruption after a step; default: one that names it. */
  readonly interrupted?: (step: number) => InterruptedError
  readonly signal?: AbortSignal | undefined
}

const IN_FLIGHT = 2

/** What to do when numbers are not finite any more. */
export const DIVERGED =
  'lower the learning rate (--lr, --swa-lr), add warm-up, or check the data for broken values; the state before it is kept'

/** The error of a run that was interrupted when its state was saved. */
export function interruptedAfter(step: number, lastStep: number, cause?: unknown): InterruptedError {
  return new InterruptedError(
    `training was interrupted after step ${step} of ${lastStep}; its state is saved`,
    { cause, cure: 'run the same command again to continue' },
  )
}

/** Runs the steps; throws InterruptedError after calling `onStop` when the signal aborts. */
export async function runLoop(options: LoopOptions): Promise<void> {
  const { firstStep, isStop, onStop, scalarsAt, signal } = options
  const { interrupted = step => interruptedAfter(step, options.lastStep) } = options
  const flight = new Flight(options)
  let drawn = firstStep
  let stoppedAt = firstStep

  if (drawn < options.lastStep) {
    for await (const batch of options.batches) {
      drawn++
      const stop = isStop(drawn) || drawn === options.lastStep
      await flight.add(new Map([...batch, ...scalarsAt(drawn)]), stop)
      // Whoever interrupts does not wait for a chunk that has not begun.
      if (signal?.aborted) flight.drop()
      if (stop || signal?.aborted) {
        await flight.settle()
        if (flight.landed > stoppedAt) await onStop(flight.landed)
        stoppedAt = flight.landed
      }
      if (signal?.aborted && stoppedAt < options.lastStep) throw interrupted(stoppedAt)
      if (drawn === options.lastStep) break
    }
  }
  if (drawn !== options.lastStep) {
    throw new InputError(`data: it ended after step ${drawn}, expected ${options.lastStep} steps`)
  }
}

/** Steps on their way: gathered to a chunk, sent, landed in order. */
class Flight {
  /** The last step whose metrics came back. */
  landed: number
  readonly #options: LoopOptions
  #pending: Feeds[] = []
  readonly #flying: { readonly steps: number; readonly result: Promise<StepMetrics[]> }[] = []

  constructor(options: LoopOptions) {
    this.#options = options
    this.landed = options.firstStep
  }

  /** Takes the next step; sends what was gathered if it is a chunk, or the last step before a stop. */
  async add(feeds: Feeds, stop: boolean): Promise<void> {
    this.#pending.push(feeds)
    if (stop || this.#pending.length >= this.#options.trainer.chunk) await this.#send()
  }

  /** Forgets what was gathered and not sent. */
  drop(): void {
    this.#pending = []
  }

  /** Waits until nothing is in flight. */
  async settle(): Promise<void> {
    if (this.#pending.length > 0) await this.#send()
    while (this.#flying.length > 0) await this.#land()
  }

  async #send(): Promise<void> {
    const result = this.#options.trainer.steps(this.#pending)
    // A failure is reported when its turn to land comes; until then it must not count as unhandled.
    result.catch(() => undefined)
    this.#flying.push({ steps: this.#pending.length, result })
    this.#pending = []
    if (this.#flying.length >= IN_FLIGHT) await this.#land()
  }

  async #land(): Promise<void> {
    const { steps, result } = this.#flying.shift()!
    const landed = await result
    invariant(landed.length === steps, `${steps} steps were sent, the metrics of ${landed.length} came back`)
    for (const metrics of landed) {
      const { stepOf = step => step } = this.#options
      checkFinite(stepOf(this.landed + 1), metrics)
      this.landed++
      this.#options.onStep(this.landed, metrics)
    }
  }
}

/**
 * Mixed precision skips a step that is not finite, and tries the next with a smaller scale; below a scale of one that was
 * not the reason.
 */
function checkFinite(step: number, metrics: StepMetrics): void {
  if (metrics.get(SKIPPED_METRIC) === 1) {
    const scale = metrics.get(SCALE_METRIC)!
    if (scale > 1) return
    throw new InputError(
      `training: the gradients of step ${step} are not finite at a loss scale of ${scale}`,
      {
        cure: DIVERGED,
      },
    )
  }
  for (const [name, value] of metrics) {
    if (Number.isFinite(value)) continue
    throw new InputError(`training: ${name} became ${value} at step ${step}`, { cure: DIVERGED })
  }
}
