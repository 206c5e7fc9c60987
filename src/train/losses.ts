/**
 * Losses written on the tape: logits and targets in, a scalar out. Names and semantics are PyTorch's; operators are those
 * that the CPU, CUDA and WebGPU engines all have.
 */

import { sigmoidCrossEntropy } from '../autodiff/composites.ts'
import type { Builder } from '../ir/builder.ts'
import type { Value } from '../ir/value.ts'
import type { DType } from '../tensor/dtype.ts'
import { normalizeAxis, sameShape, type Shape } from '../tensor/shape.ts'
import { InputError, UsageError } from '../util/errors.ts'
import { crossEntropy, IGNORE_INDEX, type CrossEntropySpec } from './cross-entropy.ts'

export type Reduction = 'mean' | 'sum'

/** Targets of all losses but cross-entropy have the shape of the logits. */
export type LossSpec =
  | CrossEntropySpec
  /** With logits: targets are probabilities. */
  | { readonly kind: 'binary-cross-entropy'; readonly reduction?: Reduction }
  | { readonly kind: 'mse'; readonly reduction?: Reduction }
  | { readonly kind: 'l1'; readonly reduction?: Reduction }
  /** d²/2 up to |d| = delta (default 1), then delta · (|d| − delta/2). */
  | { readonly kind: 'huber'; readonly delta?: number; readonly reduction?: Reduction }
  /** Huber's with delta = beta, divided by beta (default 1); beta 0 is l1. */
  | { readonly kind: 'smooth-l1'; readonly beta?: number; readonly reduction?: Reduction }

export type LossKind = LossSpec['kind']

type Spec<K extends LossKind> = Extract<LossSpec, { kind: K }>
type Writer<K extends LossKind> = (op: Builder, spec: Spec<K>, logits: Value, target: Value) => Value

const LOSSES: { readonly [K in LossKind]: Writer<K> } = {
  'cross-entropy': crossEntropy,
  'binary-cross-entropy': elementwise((op, _, x, t) => sigmoidCrossEntropy(op, x, t)),
  mse: elementwise((op, _, x, t) => {
    const d = op.Sub(x, t)
    return op.Mul(d, d)
  }),
  l1: elementwise((op, _, x, t) => op.Abs(op.Sub(x, t))),
  huber: elementwise((op, { delta = 1 }, x, t) => {
    if (!(delta > 0)) throw new UsageError(`huber: delta should be positive, found ${delta}`)
    return huber(op, op.Sub(x, t), delta)
  }),
  'smooth-l1': elementwise((op, { beta = 1 }, x, t) => {
    if (!(beta >= 0)) throw new UsageError(`smooth-l1: beta should not be negative, found ${beta}`)
    const d = op.Sub(x, t)
    return beta === 0 ? op.Abs(d) : op.Mul(huber(op, d, beta), op.scalarLike(d, 1 / beta))
  }),
}

/** Writes the loss: a scalar. */
export function writeLoss<K extends LossKind>(
  op: Builder,
  spec: Spec<K>,
  logits: Value,
  target: Value,
): Value {
  return op.within('loss', () => LOSSES[spec.kind](op, spec, logits, target))
}

/** The type of the targets that a loss wants for the given logits. */
export function targetType(spec: LossSpec, logits: Value): { readonly dtype: DType; readonly shape: Shape } {
  if (spec.kind !== 'cross-entropy' || spec.targets === 'probabilities') {
    return { dtype: 'float32', shape: logits.shape }
  }
  const axis = normalizeAxis(spec.axis ?? 1, logits.rank, 'cross-entropy')
  return { dtype: 'int64', shape: logits.shape.toSpliced(axis, 1) }
}

/**
 * The number of right answers of a batch as a float scalar: samples whose largest logit is at the label (at the largest
 * probability), or elements on the right side of 0 for binary cross-entropy. Null for losses of real-valued targets.
 */
export function writeCorrect(op: Builder, spec: LossSpec, logits: Value, target: Value): Value | null {
  const right = op.within('correct', () => {
    if (spec.kind === 'cross-entropy') return top1(op, spec, logits, target)
    if (spec.kind === 'binary-cross-entropy') {
      const above = op.Greater(logits, op.scalarLike(logits, 0))
      return op.Equal(above, op.Greater(target, op.scalarLike(target, 0.5)))
    }
    return null
  })
  if (!right) return null
  const all = right.shape.map((_, i) => i)
  return op.within('correct', () => op.ReduceSum(op.Cast(right, 'float32'), all, false))
}

/** Whether each sample's first largest logit is at its label; false for ignored samples. */
function top1(op: Builder, spec: CrossEntropySpec, logits: Value, target: Value): Value {
  const axis = normalizeAxis(spec.axis ?? 1, logits.rank, 'cross-entropy')
  const largest = (x: Value) => {
    const output = { shape: x.shape.toSpliced(axis, 1), dtype: 'int64' as const }
    return op.Cast(op.one('ArgMax', [x], output, { axis, keepdims: 0 }), 'int32')
  }
  if (sameShape(target.shape, logits.shape)) return op.Equal(largest(logits), largest(target))
  const ignored = op.scalar(spec.ignoreIndex ?? IGNORE_INDEX, 'int32')
  const labels = op.Cast(target, 'int32')
  // Ignored labels may be those of a class: none is -1.
  const counted = op.Where(op.Equal(labels, ignored), op.scalar(-1, 'int32'), labels)
  return op.Equal(largest(logits), counted)
}

/** The mean or the sum of an element-wise loss. */
function elementwise<S extends { readonly kind: LossKind; readonly reduction?: Reduction }>(
  write: (op: Builder, spec: S, x: Value, t: Value) => Value,
): (op: Builder, spec: S, x: Value, t: Value) => Value {
  return (op, spec, x, t) => {
    if (!sameShape(x.shape, t.shape)) {
      throw new InputError(
        `${spec.kind}: targets should have the shape of ${x.toString()}, found ${t.toString()}`,
      )
    }
    const loss = write(op, spec, x, t)
    const all = loss.shape.map((_, i) => i)
    return spec.reduction === 'sum' ? op.ReduceSum(loss, all, false) : op.ReduceMean(loss, all, false)
  }
}

/** With c = clip(d, −delta, delta): c · (d − c/2), which is d²/2 inside and delta · (|d| − delta/2) outside. */
function huber(op: Builder, d: Value, delta: number): Value {
  const bounds = [op.scalarLike(d, -delta), op.scalarLike(d, delta)]
  const clipped = op.one('Clip', [d, ...bounds], { shape: d.shape })
  return op.Mul(clipped, op.Sub(d, op.Mul(clipped, op.scalarLike(d, 0.5))))
}
