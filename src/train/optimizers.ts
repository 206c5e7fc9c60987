/**
 * Optimizers as a handful of element-wise nodes for each parameter. The order of operations is that of the code that is
 * named at each: PyTorch's `torch.optim`, or the paper's own.
 */

import type { Builder } from '../ir/builder.ts'
import type { Value } from '../ir/value.ts'
import { UsageError } from '../util/errors.ts'

export interface SgdSpec {
  readonly kind: 'sgd'
  readonly momentum: number
  readonly nesterov: boolean
  readonly weightDecay: number
}

export interface AdamSpec<Kind extends 'adam' | 'adamw' | 'lamb'> {
  readonly kind: Kind
  readonly beta1: number
  readonly beta2: number
  readonly eps: number
  readonly weightDecay: number
}

export interface RmsPropSpec {
  readonly kind: 'rmsprop'
  readonly alpha: number
  readonly eps: number
  readonly momentum: number
  readonly weightDecay: number
}

export interface LionSpec {
  readonly kind: 'lion'
  readonly beta1: number
  readonly beta2: number
  readonly weightDecay: number
}

export type OptimizerSpec =
  SgdSpec | AdamSpec<'adam'> | AdamSpec<'adamw'> | AdamSpec<'lamb'> | RmsPropSpec | LionSpec

export type OptimizerKind = OptimizerSpec['kind']

export interface Update {
  readonly theta: Value
  readonly slots: readonly Value[]
}

export interface UpdateContext {
  readonly op: Builder
  readonly theta: Value
  readonly grad: Value
  readonly slots: readonly Value[]
  /** Values of `scalarNames`, each of shape []. */
  readonly scalars: readonly Value[]
  /** That of this parameter; by default the optimizer's. */
  readonly weightDecay?: number
}

export interface Optimizer {
  /** Names of the vectors that are carried beside the parameters, of the same layout; all start at zero. */
  readonly slotNames: readonly string[]
  /** Scalars that the host computes for each step, in float64, and feeds. */
  readonly scalarNames: readonly string[]
  /** Their values at a step (1-based count of updates) under a learning rate and a weight decay (default: the optimizer's). */
  scalarsAt(step: number, lr: number, weightDecay?: number): readonly number[]
  /** Writes the update on the tape. */
  update(context: UpdateContext): Update
}

const MAKERS: {
  readonly [Kind in OptimizerKind]: (spec: Extract<OptimizerSpec, { readonly kind: Kind }>) => Optimizer
} = { sgd, adam, adamw, lamb, rmsprop, lion }

/** Builds an optimizer, checking its hyperparameters. */
export function makeOptimizer(spec: OptimizerSpec): Optimizer {
  checkRange('weight decay', spec.weightDecay, 0, Infinity)
  // The table gives the maker of the spec's own kind, which TypeScript cannot follow.
  return MAKERS[spec.kind](spec as never)
}

function checkRange(name: string, value: number, low: number, high: number): void {
  if (value >= low && value < high) return
  throw new UsageError(`optimizer: ${name} should be in [${low}, ${high}), got ${value}`)
}

/**
 * d = g + λθ; b' = μb + d; θ' = θ - lr·b' (Nesterov: θ' = θ - lr·(d + μb')); torch.optim.SGD.
 * PyTorch sets b = d at the first step, which is the same because b starts at zero (dampening 0).
 */
function sgd({ momentum, nesterov, weightDecay: common }: SgdSpec): Optimizer {
  checkRange('momentum', momentum, 0, 1)
  if (nesterov && momentum === 0) throw new UsageError('optimizer: Nesterov needs a momentum above 0')
  return {
    slotNames: momentum > 0 ? ['momentum'] : [],
    scalarNames: ['lr'],
    scalarsAt: (_step, lr) => [lr],
    update({ op, theta, grad, slots, scalars: [lr], weightDecay = common }) {
      const d = decayedGradient(op, theta, grad, weightDecay)
      const [slot] = slots
      const buffer = slot ? op.Add(op.Mul(slot, op.scalar(momentum)), d) : null
      const direction = !buffer ? d : nesterov ? op.Add(d, op.Mul(buffer, op.scalar(momentum))) : buffer
      return { theta: op.Sub(theta, op.Mul(direction, lr!)), slots: buffer ? [buffer] : [] }
    },
  }
}

/** g + λθ: weight decay as the gradient of an L2 penalty. */
function decayedGradient(op: Builder, theta: Value, grad: Value, weightDecay: number): Value {
  return weightDecay > 0 ? op.Add(grad, op.Mul(theta, op.scalar(weightDecay))) : grad
}

type Moments = Pick<AdamSpec<'adam'>, 'beta1' | 'beta2' | 'eps'>

function checkMoments({ beta1, beta2 }: Pick<Moments, 'beta1' | 'beta2'>): void {
  checkRange('beta1', beta1, 0, 1)
  checkRange('beta2', beta2, 0, 1)
}

/** m' = β1·m + (1-β1)·g; v' = β2·v + (1-β2)·g²; and √v' / √(1-β2ᵗ) + ε, whose root of the correction is fed. */
function moments(
  { beta1, beta2, eps }: Moments,
  { op, slots }: UpdateContext,
  grad: Value,
  correction: Value,
): { mNext: Value; vNext: Value; denominator: Value } {
  const [m, v] = slots as [Value, Value]
  const mNext = op.Add(op.Mul(m, op.scalar(beta1)), op.Mul(grad, op.scalar(1 - beta1)))
  const vNext = op.Add(op.Mul(v, op.scalar(beta2)), op.Mul(op.Mul(grad, grad), op.scalar(1 - beta2)))
  const denominator = op.Add(op.Div(op.Sqrt(vNext), correction), op.scalar(eps))
  return { mNext, vNext, denominator }
}

const MOMENT_SLOTS = ['exp_avg', 'exp_avg_sq'] as const

/** g ← g + λθ; θ' = θ - (lr / (1-β1ᵗ)) · m' / (√v' / √(1-β2ᵗ) + ε); torch.optim.Adam (Kingma, Ba 2015). */
function adam(spec: AdamSpec<'adam'>): Optimizer {
  checkMoments(spec)
  const { beta1, beta2, weightDecay: common } = spec
  return {
    slotNames: MOMENT_SLOTS,
    scalarNames: ['step_size', 'bias_correction2_sqrt'],
    scalarsAt: (step, lr) => [lr / (1 - beta1 ** step), Math.sqrt(1 - beta2 ** step)],
    update(context) {
      const { op, theta, grad, scalars, weightDecay = common } = context
      const [stepSize, correction] = scalars as [Value, Value]
      const decayed = decayedGradient(op, theta, grad, weightDecay)
      const { mNext, vNext, denominator } = moments(spec, context, decayed, correction)
      return { theta: op.Sub(theta, op.Mul(stepSize, op.Div(mNext, denominator))), slots: [mNext, vNext] }
    },
  }
}

/** θ ← θ(1 - lr·λ), then as Adam without λ; torch.optim.AdamW (Loshchilov, Hutter 2019). */
function adamw(spec: AdamSpec<'adamw'>): Optimizer {
  checkMoments(spec)
  const { beta1, beta2, weightDecay: common } = spec
  return {
    slotNames: MOMENT_SLOTS,
    scalarNames: ['decay', 'step_size', 'bias_correction2_sqrt'],
    scalarsAt: (step, lr, weightDecay = common) => [
      1 - lr * weightDecay,
      lr / (1 - beta1 ** step),
      Math.sqrt(1 - beta2 ** step),
    ],
    update(context) {
      const { op, theta, grad, scalars, weightDecay = common } = context
      const [decay, stepSize, correction] = scalars as [Value, Value, Value]
      const { mNext, vNext, denominator } = moments(spec, context, grad, correction)
      const decayed = weightDecay > 0 ? op.Mul(theta, decay) : theta
      return { theta: op.Sub(decayed, op.Mul(stepSize, op.Div(mNext, denominator))), slots: [mNext, vNext] }
    },
  }
}

/**
 * r = (m' / (1-β1ᵗ)) / (√v' / √(1-β2ᵗ) + ε) + λθ; θ' = θ - lr · (‖θ‖ / ‖r‖) · r, the norms being those of one tensor and the
 * ratio 1 where one of them is 0 (You et al. 2020). As in the authors' code, what is not decayed is not scaled either.
 */
function lamb(spec: AdamSpec<'lamb'>): Optimizer {
  checkMoments(spec)
  const { beta1, beta2, weightDecay: common } = spec
  return {
    slotNames: MOMENT_SLOTS,
    scalarNames: ['lr', 'bias_correction1', 'bias_correction2_sqrt'],
    scalarsAt: (step, lr) => [lr, 1 - beta1 ** step, Math.sqrt(1 - beta2 ** step)],
    update(context) {
      const { op, theta, grad, scalars, weightDecay = common } = context
      const [lr, correction1, correction2] = scalars as [Value, Value, Value]
      const { mNext, vNext, denominator } = moments(spec, context, grad, correction2)
      const adaptive = op.Div(op.Div(mNext, correction1), denominator)
      const direction = weightDecay > 0 ? scaledToWeights(op, theta, adaptive, weightDecay) : adaptive
      return { theta: op.Sub(theta, op.Mul(direction, lr)), slots: [mNext, vNext] }
    },
  }
}

function scaledToWeights(op: Builder, theta: Value, adaptive: Value, weightDecay: number): Value {
  const norm = (x: Value) => op.Sqrt(op.ReduceSumSquare(x, [...x.shape.keys()], false))
  const direction = op.Add(adaptive, op.Mul(theta, op.scalar(weightDecay)))
  const [weights, update] = [norm(theta), norm(direction)]
  const zero = op.scalar(0)
  const defined = op.And(op.Greater(weights, zero), op.Greater(update, zero))
  return op.Mul(direction, op.Where(defined, op.Div(weights, update), op.scalar(1)))
}

/** g ← g + λθ; s' = α·s + (1-α)·g²; b' = μb + g / (√s' + ε); θ' = θ - lr·b'; torch.optim.RMSprop (Hinton 2012). */
function rmsprop({ alpha, eps, momentum, weightDecay: common }: RmsPropSpec): Optimizer {
  checkRange('alpha', alpha, 0, 1)
  checkRange('momentum', momentum, 0, 1)
  return {
    slotNames: ['square_avg', ...(momentum > 0 ? ['momentum'] : [])],
    scalarNames: ['lr'],
    scalarsAt: (_step, lr) => [lr],
    update({ op, theta, grad, slots, scalars: [lr], weightDecay = common }) {
      const decayed = decayedGradient(op, theta, grad, weightDecay)
      const [square, slot] = slots as [Value, Value?]
      const squares = op.Mul(op.Mul(decayed, decayed), op.scalar(1 - alpha))
      const squareNext = op.Add(op.Mul(square, op.scalar(alpha)), squares)
      const scaled = op.Div(decayed, op.Add(op.Sqrt(squareNext), op.scalar(eps)))
      const buffer = slot ? op.Add(op.Mul(slot, op.scalar(momentum)), scaled) : null
      return {
        theta: op.Sub(theta, op.Mul(buffer ?? scaled, lr!)),
        slots: buffer ? [squareNext, buffer] : [squareNext],
      }
    },
  }
}

/** θ ← θ(1 - lr·λ); θ' = θ - lr · sign(β1·m + (1-β1)·g); m' = β2·m + (1-β2)·g (Chen et al. 2023). */
function lion({ beta1, beta2, weightDecay: common }: LionSpec): Optimizer {
  checkMoments({ beta1, beta2 })
  return {
    slotNames: ['exp_avg'],
    scalarNames: ['decay', 'lr'],
    scalarsAt: (_step, lr, weightDecay = common) => [1 - lr * weightDecay, lr],
    update({ op, theta, grad, slots: [m], scalars, weightDecay = common }) {
      const [decay, lr] = scalars as [Value, Value]
      const mixed = (beta: number) => op.Add(op.Mul(m!, op.scalar(beta)), op.Mul(grad, op.scalar(1 - beta)))
      const decayed = weightDecay > 0 ? op.Mul(theta, decay) : theta
      return { theta: op.Sub(decayed, op.Mul(lr, op.Sign(mixed(beta1)))), slots: [mixed(beta2)] }
    },
  }
}
