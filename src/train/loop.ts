/**
 * The training loop: batches in, steps on an engine, and stops at the steps where something is due (snapshot, validation,
 * saving). The engine says how many steps it wants at once. Between stops two such chunks are in flight: the engine works on
 * one while the data of the next are made ready.
 */

import type { Feeds, StepMetrics, Trainer } from '../runtime/engine.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { InputError, InterruptedError } from '../util/errors.ts'

export interface LoopOptions {
  readonly trainer: Trainer
  /** Steps done before this call (0 for a new run). */
  readonly firstStep: number
  /** Steps at the end. */
  readonly lastStep: number
  /** Feeds of the steps from `firstStep` on, in order. */
  readonly batches: AsyncIterable<Map<string, Tensor>>
  /** The scalars of a step (1-based), by input name. */
  readonly scalarsAt: (step: number) => ReadonlyMap<string, Tensor>
  /** Whether the loop must stand still after this step, because its state is wanted. */
  readonly isStop: (step: number) => boolean
  /** Called after each such step, when nothing is in flight. */
  readonly onStop: (step: number) => Promise<void>
  /** Called for each step, in order. */
  readonly onStep: (step: number, metrics: StepMetrics) => void
  readonly signal?: AbortSignal | undefined
}

const IN_FLIGHT = 2

/** Runs the steps; throws InterruptedError after calling `onStop` when the signal aborts. */
export async function runLoop(options: LoopOptions): Promise<void> {
  const { trainer, lastStep, scalarsAt, isStop, onStop, signal } = options
  let step = options.firstStep
  let pending: Feeds[] = []
  const flying: { first: number; result: Promise<StepMetrics[]> }[] = []

  const land = async () => {
    const { first, result } = flying.shift()!
    for (const [i, metrics] of (await result).entries()) {
      checkFinite(first + i, metrics)
      options.onStep(first + i, metrics)
    }
  }
  const send = async () => {
    if (pending.length === 0) return
    const result = trainer.steps(pending)
    // A failure is reported when its turn to land comes; until then it must not count as unhandled.
    result.catch(() => undefined)
    flying.push({ first: step - pending.length + 1, result })
    pending = []
    if (flying.length >= IN_FLIGHT) await land()
  }
  const settle = async () => {
    await send()
    while (flying.length > 0) await land()
  }

  if (step < lastStep) {
    for await (const batch of options.batches) {
      step++
      pending.push(new Map([...batch, ...scalarsAt(step)]))
      const stop = isStop(step) || step === lastStep
      if (pending.length >= trainer.chunk || stop) await send()
      if (stop || signal?.aborted) {
        await settle()
        await onStop(step)
      }
      if (signal?.aborted && step < lastStep) {
        throw new InterruptedError(
          `training was interrupted after step ${step} of ${lastStep}; its state is saved`,
          {
            cure: 'run the same command again to continue',
          },
        )
      }
      if (step === lastStep) break
    }
  }
  if (step !== lastStep) throw new InputError(`data: it ended after step ${step}, expected ${lastStep} steps`)
}

function checkFinite(step: number, metrics: StepMetrics): void {
  for (const [name, value] of metrics) {
    if (Number.isFinite(value)) continue
    throw new InputError(`training: ${name} became ${value} at step ${step}`, {
      cure: 'lower the learning rate (--lr, --swa-lr), add warm-up, or check the data for broken values; the state before it is kept',
    })
  }
}
