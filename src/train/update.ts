/**
 * The end of a training step: from the gradients of one batch to the next state. Gradients are added up over some batches,
 * clipped, and handed to the optimizer; a moving average follows the weights. All of it is element-wise on each parameter,
 * with a few scalars that the host computes for each step.
 */

import { invariant, UsageError } from '../util/errors.ts'
import type { Builder } from '../ir/builder.ts'
import { Value } from '../ir/value.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { FlatLayout } from './flat.ts'
import { CHOICES, choicesOf, type LossScaling } from './loss-scaling.ts'
import { makeOptimizer, type Optimizer, type OptimizerSpec } from './optimizers.ts'
import { ACCUMULATED, EMA, THETA, type StateWriter } from './state-writer.ts'

/** By the norm of all gradients together, or each element by itself. */
export type ClipSpec =
  { readonly kind: 'norm'; readonly limit: number } | { readonly kind: 'value'; readonly limit: number }

export interface EmaSpec {
  readonly decay: number
  /** Begins at decay 0 and rises to `decay`, so that the first weights do not weigh for long. */
  readonly warmup: boolean
}

/** Parameters that share the factor of their learning rate and their weight decay. */
export interface ParameterGroup {
  /** Factor of the learning rate. */
  readonly lr: number
  readonly weightDecay: number
  /** Optimizer steps of the run before these parameters begin to train: their optimizer counts from there. */
  readonly after: number
  readonly parameters: readonly string[]
}

export interface UpdateOptions {
  readonly optimizer: OptimizerSpec
  /** Default: one group, with the optimizer's weight decay. */
  readonly groups?: readonly ParameterGroup[]
  readonly clip?: ClipSpec | null
  /** Batches of one optimizer step; their gradients arrive divided by it. */
  readonly accumulate?: number
  readonly ema?: EmaSpec | null
  /** How gradients arrive scaled, in mixed precision. */
  readonly scaling?: LossScaling | null
}

export interface WrittenUpdate {
  readonly optimizer: Optimizer
  /** Step scalars, all of them; the first are the optimizer's, in its order. */
  readonly inputs: readonly Value[]
  /** Reported at each batch: `grad_norm`, before clipping. */
  readonly metrics: ReadonlyMap<string, Value>
  /** What is fed for a batch (counted from 1) whose optimizer step has the learning rate `lr`. */
  scalarsAt(batch: number, lr: number): Map<string, Tensor>
}

/** Writes the updates in the order of the parameters. */
export function writeUpdate(
  state: StateWriter,
  parameters: FlatLayout,
  weights: readonly Value[],
  gradients: readonly Value[],
  options: UpdateOptions,
): WrittenUpdate {
  const { op } = state
  const { clip = null, accumulate = 1, ema = null, scaling = null } = options
  checkOptions(options)
  const optimizer = makeOptimizer(options.optimizer)
  const groups = options.groups ?? [oneGroup(options.optimizer, parameters)]
  const groupOf = new Map(groups.flatMap((group, i) => group.parameters.map(name => [name, i] as const)))
  const slots = optimizer.slotNames.map(name => state.declare(name, parameters))
  const scalars = new StepScalars(op, scaling)
  return op.within('optimizer', () => {
    // 1. Scalars: those of the optimizer for each group, then those of accumulation and average.
    const ofGroups = scalars.perGroup(optimizer, groups)
    const accumulation = accumulate > 1 ? scalars.accumulation(accumulate) : null
    const emaDecay = ema && scalars.emaDecay(ema)

    // 2. Gradients: added up, then clipped.
    const sums = accumulation && state.declare(ACCUMULATED, parameters)
    const totals = gradients.map((gradient, i) =>
      accumulation && sums ? accumulation.added(sums[i]!, gradient) : gradient,
    )
    const good = scaling?.areFinite(totals) ?? null
    const { clipped, norm } = clipGradients(op, scaling?.unscaled(totals) ?? totals, clip)

    // 3. The optimizer, and the average behind it. Between two optimizer steps both stay what they are.
    const averages = emaDecay && state.declare(EMA, parameters)
    const isStep = accumulation?.isStep ?? null
    const settles = isStep && good ? op.And(isStep, good) : (isStep ?? good)
    const settle = (next: Value, now: Value) => (settles ? op.Where(settles, next, now) : next)
    weights.forEach((theta, i) => {
      const group = groupOf.get(parameters.segments[i]!.name)
      invariant(group !== undefined, `parameter ${parameters.segments[i]!.name} is in no group`)
      const update = optimizer.update({
        ...{ op, theta, grad: clipped(i), slots: slots.map(slot => slot[i]!) },
        ...{ scalars: ofGroups[group]!, weightDecay: groups[group]!.weightDecay },
      })
      const next = settle(update.theta, theta)
      state.next(THETA, i, next)
      optimizer.slotNames.forEach((name, k) => state.next(name, i, settle(update.slots[k]!, slots[k]![i]!)))
      if (sums) state.next(ACCUMULATED, i, totals[i]!)
      if (!averages) return
      const behind = op.Sub(next, op.Mul(emaDecay, op.Sub(next, averages[i]!)))
      state.next(EMA, i, settle(behind, averages[i]!))
    })
    return {
      ...{ optimizer, inputs: scalars.inputs },
      metrics: new Map([
        ...(norm ? [['grad_norm', norm] as const] : []),
        ...(scaling && good ? scaling.write(good, isStep) : []),
      ]),
      scalarsAt: (batch, lr) => scalars.at(batch, lr, accumulate),
    }
  })
}

function checkOptions({ clip, accumulate = 1, ema }: UpdateOptions): void {
  if (clip && !(clip.limit > 0))
    throw new UsageError(`clipping: the limit should be above 0, found ${clip.limit}`)
  if (!Number.isSafeInteger(accumulate) || accumulate < 1)
    throw new UsageError(`accumulate: expected a positive whole number of batches, found ${accumulate}`)
  if (ema && !(ema.decay >= 0 && ema.decay < 1))
    throw new UsageError(`ema: the decay should be in [0, 1), found ${ema.decay}`)
}

function oneGroup({ weightDecay }: OptimizerSpec, { segments }: FlatLayout): ParameterGroup {
  return { lr: 1, weightDecay, after: 0, parameters: segments.map(({ name }) => name) }
}

/**
 * torch.nn.utils.clip_grad_norm_: g · min(1, limit / (‖g‖ + 1e-6)), the norm being that of all gradients; or clip_grad_value_.
 * `clipped` writes the clipped gradient of a parameter, which comes with its update.
 */
function clipGradients(
  op: Builder,
  gradients: readonly Value[],
  clip: ClipSpec | null,
): { clipped: (index: number) => Value; norm: Value | null } {
  if (clip === null) return { clipped: i => gradients[i]!, norm: null }
  if (clip.kind === 'value') {
    const [low, high] = [op.scalar(-clip.limit), op.scalar(clip.limit)]
    return { clipped: i => op.Max(op.Min(gradients[i]!, high), low), norm: null }
  }
  const squares = gradients.map(gradient =>
    op.Reshape(op.ReduceSumSquare(gradient, [...gradient.shape.keys()], false), [1]),
  )
  const norm = op.Sqrt(op.ReduceSum(op.Concat(squares, 0), [0], false))
  const ratio = op.Div(op.scalar(clip.limit), op.Add(norm, op.scalar(1e-6)))
  const factor = op.Min(ratio, op.scalar(1))
  return { clipped: i => op.Mul(gradients[i]!, factor), norm }
}

/** The optimizer step that a batch belongs to; both are counted from 1. */
function stepOf(batch: number, accumulate: number): number {
  return Math.ceil(batch / accumulate)
}

/** Decay of the average at a step: `timm.utils.ModelEmaV3`'s warm-up (γ 1, power 2/3), or as torch.optim.swa_utils. */
export function emaDecayAt({ decay, warmup }: EmaSpec, step: number): number {
  // The first weights are taken as they are.
  if (step <= 1) return 0
  return warmup ? Math.min(decay, 1 - step ** (-2 / 3)) : decay
}

/** Inputs of the program that are one number, or one number for each group. */
class StepScalars {
  readonly inputs: Value[] = []
  readonly #op: Builder
  readonly #scaling: LossScaling | null
  readonly #values: ((batch: number, step: number, lr: number) => readonly number[])[] = []

  constructor(op: Builder, scaling: LossScaling | null) {
    this.#op = op
    this.#scaling = scaling
  }

  /** The optimizer's scalars of each group. Groups get theirs out of one vector, so that no group adds an input. */
  perGroup(optimizer: Optimizer, groups: readonly ParameterGroup[]): Value[][] {
    const op = this.#op
    const vectors = optimizer.scalarNames.map((name, k) =>
      this.#counted(name, groups.length > 1 ? [groups.length] : [], (step, lr) =>
        groups.map(group => {
          const counted = Math.max(1, step - group.after)
          return optimizer.scalarsAt(counted, lr * group.lr, group.weightDecay)[k]!
        }),
      ),
    )
    if (groups.length === 1) return [vectors]
    return groups.map((_, i) => vectors.map(vector => op.Gather(vector, op.scalar(i, 'int64'), 0)))
  }

  /**
   * `added`: the sum so far, which the first batch of an optimizer step forgets, be it a number or not. `isStep`: true at
   * the last batch.
   */
  accumulation(accumulate: number): { added: (sum: Value, gradient: Value) => Value; isStep: Value } {
    const op = this.#op
    const half = op.scalar(0.5)
    const keep = this.#declare('keep', [], batch => [(batch - 1) % accumulate === 0 ? 0 : 1])
    const apply = this.#declare('apply', [], batch => [batch % accumulate === 0 ? 1 : 0])
    const goesOn = op.Greater(keep, half)
    const added = (sum: Value, gradient: Value) => op.Where(goesOn, op.Add(sum, gradient), gradient)
    return { added, isStep: op.Greater(apply, half) }
  }

  emaDecay(ema: EmaSpec): Value {
    return this.#declare('ema_decay', [], (_batch, step) => [emaDecayAt(ema, step)])
  }

  at(batch: number, lr: number, accumulate: number): Map<string, Tensor> {
    const step = stepOf(batch, accumulate)
    return new Map(
      this.inputs.map(({ name, shape }, i) => [
        name,
        Tensor.of('float32', shape, this.#values[i]!(batch, step, lr)),
      ]),
    )
  }

  /** A scalar of the optimizer, which counts the steps that were made: with loss scaling, one of several choices. */
  #counted(
    name: string,
    shape: readonly number[],
    values: (step: number, lr: number) => readonly number[],
  ): Value {
    if (!this.#scaling) return this.#declare(name, shape, (_batch, step, lr) => values(step, lr))
    const rows = this.#declare(name, [CHOICES, ...shape], (_batch, step, lr) =>
      choicesOf(step, counted => values(counted, lr)),
    )
    return this.#scaling.chosen(rows)
  }

  #declare(
    name: string,
    shape: readonly number[],
    values: (batch: number, step: number, lr: number) => readonly number[],
  ): Value {
    const input = Value.typed(this.#op.uniqueName(`step/${name}`), 'float32', shape)
    this.inputs.push(input)
    this.#values.push(values)
    return input
  }
}
