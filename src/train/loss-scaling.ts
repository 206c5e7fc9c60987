/**
 * Dynamic loss scaling with the semantics of torch.amp.GradScaler: gradients are computed of scale · loss, so that small
 * ones do not vanish in float16. A step whose gradients are not all finite is skipped and the scale goes down; after so many
 * good steps in a row it goes up. All of it is in the graph, for an engine may make many steps without the host.
 */

import type { Builder } from '../ir/builder.ts'
import type { Value } from '../ir/value.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { FlatLayout } from './flat.ts'
import type { StateWriter } from './state-writer.ts'

export interface LossScaleSpec {
  readonly initial: number
  readonly growth: number
  readonly backoff: number
  /** Good steps in a row after which the scale grows. */
  readonly interval: number
}

/** GradScaler's defaults. */
export const LOSS_SCALE: LossScaleSpec = { initial: 65536, growth: 2, backoff: 0.5, interval: 2000 }

/** The state vector: scale, good steps in a row, steps skipped. */
export const SCALER = 'scaler'
const PARTS = ['scale', 'growth_tracker', 'skipped'] as const

/** Metrics of a step: the scale it was made with, and 1 where it was skipped. */
export const SCALE_METRIC = 'loss_scale'
export const SKIPPED_METRIC = 'skipped'

/** No larger scale: twice it is still finite. */
const LARGEST = 2 ** 126

/** A sum of squares below this is a number; its terms may be 1e18 large. */
const FINITE = 3e38

/**
 * Step scalars such as Adam's bias corrections count the steps that were made, which only the graph knows. So they are
 * fed as a row of choices: element s holds under the assumption that s steps were skipped. More than that are taken for
 * the last: by then a scale of 65536 has become 2^-47, or the corrections are one.
 */
export const CHOICES = 64

export class LossScaling {
  /** What the loss is multiplied by: the seed of its gradient. */
  readonly scale: Value
  readonly #op: Builder
  readonly #state: StateWriter
  readonly spec: LossScaleSpec
  readonly #tracker: Value
  readonly #skipped: Value
  #choice: Value | null = null

  constructor(state: StateWriter, spec: LossScaleSpec) {
    const [scale, tracker, skipped] = state.declare(
      SCALER,
      new FlatLayout(PARTS.map(name => ({ name, shape: [] }))),
    )
    this.scale = scale!
    this.#tracker = tracker!
    this.#skipped = skipped!
    this.#op = state.op
    this.#state = state
    this.spec = spec
  }

  /** What holds at this step, from its choices along the first axis. */
  chosen(choices: Value): Value {
    const op = this.#op
    this.#choice ??= op.Cast(op.Min(this.#skipped, op.scalar(CHOICES - 1)), 'int32')
    return op.Gather(choices, this.#choice, 0)
  }

  /** The gradients of the loss itself. */
  unscaled(gradients: readonly Value[]): Value[] {
    const inverse = this.#op.Reciprocal(this.scale)
    return gradients.map(gradient => this.#op.Mul(gradient, inverse))
  }

  /** Whether all of these are finite: a scalar truth. */
  areFinite(gradients: readonly Value[]): Value {
    const op = this.#op
    const squares = gradients.map(gradient =>
      op.Reshape(op.ReduceSumSquare(gradient, [...gradient.shape.keys()], false), [1]),
    )
    return op.Less(op.ReduceSum(op.Concat(squares, 0), [0], false), op.scalar(FINITE))
  }

  /** Writes the next scale, and gives the metrics. `isStep`: whether the optimizer's step is due (default: it is). */
  write(good: Value, isStep: Value | null): Map<string, Value> {
    const op = this.#op
    const { growth, backoff, interval } = this.spec
    const [zero, one] = [op.scalar(0), op.scalar(1)]
    const run = op.Add(this.#tracker, one)
    const grows = op.GreaterOrEqual(run, op.scalar(interval))
    const grown = op.Min(op.Mul(this.scale, op.scalar(growth)), op.scalar(LARGEST))
    const kept = op.Where(grows, grown, this.scale)
    const bad = op.Where(isStep ? op.Or(good, op.Not(isStep)) : good, zero, one)
    const settle = (next: Value, now: Value) => (isStep ? op.Where(isStep, next, now) : next)
    const scale = op.Where(good, kept, op.Mul(this.scale, op.scalar(backoff)))
    const tracker = op.Where(good, op.Where(grows, zero, run), zero)
    this.#state.next(SCALER, 0, settle(scale, this.scale))
    this.#state.next(SCALER, 1, settle(tracker, this.#tracker))
    this.#state.next(SCALER, 2, op.Add(this.#skipped, bad))
    return new Map([
      [SCALE_METRIC, op.Identity(this.scale)],
      [SKIPPED_METRIC, op.Identity(bad)],
    ])
  }
}

/** The choices that are fed for a step scalar: its values, had 0, 1, 2, ... of the steps up to this one been skipped. */
export function choicesOf(step: number, valuesAt: (step: number) => readonly number[]): number[] {
  return Array.from({ length: CHOICES }, (_, skipped) => valuesAt(Math.max(1, step - skipped))).flat()
}

/** The state before the first step. */
export function initialScaler({ initial }: LossScaleSpec): Float32Array {
  return Float32Array.of(initial, 0, 0)
}

/** What the log says of the state of the scaling: the scale of the next step, and how many steps were skipped so far. */
export function scalingMetrics(state: ReadonlyMap<string, Tensor>): Record<string, number> {
  const scaler = state.get(SCALER)
  if (!scaler) return {}
  const [scale, , skipped] = scaler.toNumbers() as [number, number, number]
  return { [SCALE_METRIC]: scale, skipped_steps: skipped }
}
