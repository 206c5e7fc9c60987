/**
 * Optimizers as a handful of element-wise nodes for each parameter.
 * Formulas: PyTorch's `torch.optim.SGD` and `torch.optim.AdamW` (Loshchilov, Hutter 2019), whose order of operations is kept.
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

export interface AdamWSpec {
  readonly kind: 'adamw'
  readonly beta1: number
  readonly beta2: number
  readonly eps: number
  readonly weightDecay: number
}

export type OptimizerSpec = SgdSpec | AdamWSpec

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
}

export interface Optimizer {
  /** Names of the vectors that are carried beside the parameters, of the same layout; all start at zero. */
  readonly slotNames: readonly string[]
  /** Scalars that the host computes for each step, in float64, and feeds. */
  readonly scalarNames: readonly string[]
  /** Their values at a step (1-based count of updates) under a learning rate. */
  scalarsAt(step: number, lr: number): readonly number[]
  /** Writes the update on the tape. */
  update(context: UpdateContext): Update
}

/** Builds an optimizer, checking its hyperparameters. */
export function makeOptimizer(spec: OptimizerSpec): Optimizer {
  return spec.kind === 'sgd' ? sgd(spec) : adamw(spec)
}

function checkRange(name: string, value: number, low: number, high: number): void {
  if (value >= low && value < high) return
  throw new UsageError(`optimizer: ${name} should be in [${low}, ${high}), got ${value}`)
}

/**
 * d = g + λθ; b' = μb + d; θ' = θ - lr·b' (Nesterov: θ' = θ - lr·(d + μb')).
 * PyTorch sets b = d at the first step, which is the same because b starts at zero (dampening 0).
 */
function sgd({ momentum, nesterov, weightDecay }: SgdSpec): Optimizer {
  checkRange('momentum', momentum, 0, 1)
  checkRange('weight decay', weightDecay, 0, Infinity)
  if (nesterov && momentum === 0) throw new UsageError('optimizer: Nesterov needs a momentum above 0')
  return {
    slotNames: momentum > 0 ? ['momentum'] : [],
    scalarNames: ['lr'],
    scalarsAt: (_step, lr) => [lr],
    update({ op, theta, grad, slots, scalars: [lr] }) {
      const d = weightDecay > 0 ? op.Add(grad, op.Mul(theta, op.scalar(weightDecay))) : grad
      const [slot] = slots
      const buffer = slot ? op.Add(op.Mul(slot, op.scalar(momentum)), d) : null
      const direction = !buffer ? d : nesterov ? op.Add(d, op.Mul(buffer, op.scalar(momentum))) : buffer
      return { theta: op.Sub(theta, op.Mul(direction, lr!)), slots: buffer ? [buffer] : [] }
    },
  }
}

/**
 * θ ← θ(1 - lr·λ); m' = β1·m + (1-β1)·g; v' = β2·v + (1-β2)·g²;
 * θ' = θ - (lr / (1-β1ᵗ)) · m' / (√v' / √(1-β2ᵗ) + ε).
 */
function adamw({ beta1, beta2, eps, weightDecay }: AdamWSpec): Optimizer {
  checkRange('beta1', beta1, 0, 1)
  checkRange('beta2', beta2, 0, 1)
  checkRange('weight decay', weightDecay, 0, Infinity)
  return {
    slotNames: ['exp_avg', 'exp_avg_sq'],
    scalarNames: ['decay', 'step_size', 'bias_correction2_sqrt'],
    scalarsAt: (step, lr) => [1 - lr * weightDecay, lr / (1 - beta1 ** step), Math.sqrt(1 - beta2 ** step)],
    update({ op, theta, grad, slots, scalars: [decay, stepSize, correction] }) {
      const [m, v] = slots as [Value, Value]
      const mNext = op.Add(op.Mul(m, op.scalar(beta1)), op.Mul(grad, op.scalar(1 - beta1)))
      const vNext = op.Add(op.Mul(v, op.scalar(beta2)), op.Mul(op.Mul(grad, grad), op.scalar(1 - beta2)))
      const denominator = op.Add(op.Div(op.Sqrt(vNext), correction!), op.scalar(eps))
      const decayed = weightDecay > 0 ? op.Mul(theta, decay!) : theta
      const next = op.Sub(decayed, op.Mul(stepSize!, op.Div(mNext, denominator)))
      return { theta: next, slots: [mNext, vNext] }
    },
  }
}
