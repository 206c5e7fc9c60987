/**
 * Losses written on the tape: logits and targets in, a scalar out. Names and semantics are PyTorch's; operators are those
 * that the CPU, CUDA and WebGPU engines all have.
 */

import { sigmoidCrossEntropy } from '../autodiff/composites.ts'
import type { Builder } from '../ir/builder.ts'
import type { Value } from '../ir/value.ts'
import type { DType } from '../tensor/dtype.ts'
import { sameShape, type Shape } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { InputError, UsageError } from '../util/errors.ts'
import {
  align,
  classAxis,
  crossEntropy,
  focal,
  focus,
  IGNORE_INDEX,
  type ClassLossSpec,
} from './cross-entropy.ts'

export type Reduction = 'mean' | 'sum'

/** Options of torch.nn.BCEWithLogitsLoss. */
export interface BinaryOptions {
  /** What a "yes" counts more than a "no": one number, or one for each class (axis 1). */
  readonly posWeight?: readonly number[]
  readonly reduction?: Reduction
}

/** Targets have the shape of the logits, but for losses of class labels. */
export type LossSpec =
  | ClassLossSpec
  /** With logits: targets are probabilities. */
  | ({ readonly kind: 'binary-cross-entropy' } & BinaryOptions)
  /** Binary cross-entropy times (1 − p of the target)^gamma; gamma is 2 by default (Lin et al. 2017, without alpha). */
  | ({ readonly kind: 'binary-focal'; readonly gamma?: number } & BinaryOptions)
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
  focal,
  'causal-lm': crossEntropy,
  'binary-cross-entropy': elementwise(binaryCrossEntropy),
  'binary-focal': elementwise((op, spec, x, t) => {
    // 1 − p of the target = p + t − 2·p·t.
    const p = op.Sigmoid(x)
    const rest = op.Add(p, op.Mul(t, op.Sub(op.scalarLike(x, 1), op.Mul(p, op.scalarLike(p, 2)))))
    return op.Mul(binaryCrossEntropy(op, spec, x, t), focus(op, rest, spec.gamma))
  }),
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

/** Whether a loss is about one class of several. */
export function isClassLoss(spec: LossSpec): spec is ClassLossSpec {
  return CLASS_LOSSES.includes(spec.kind)
}

const CLASS_LOSSES: readonly LossKind[] = ['cross-entropy', 'focal', 'causal-lm']

/** Whether a loss is about yes or no for each class. */
export function isBinaryLoss({ kind }: LossSpec): boolean {
  return kind === 'binary-cross-entropy' || kind === 'binary-focal'
}

/** The type of the targets that a loss wants for the given logits. */
export function targetType(spec: LossSpec, logits: Value): { readonly dtype: DType; readonly shape: Shape } {
  if (!isClassLoss(spec) || spec.targets === 'probabilities') {
    return { dtype: 'float32', shape: logits.shape }
  }
  return { dtype: 'int64', shape: logits.shape.toSpliced(classAxis(spec, logits), 1) }
}

/**
 * The number of right answers of a batch as a float scalar: samples whose largest logit is at the label (at the largest
 * probability), or elements on the right side of 0 for yes-no losses. Null for losses of real-valued targets.
 */
export function writeCorrect(op: Builder, spec: LossSpec, logits: Value, target: Value): Value | null {
  const right = op.within('correct', () => {
    if (isClassLoss(spec)) return top1(op, spec, logits, target)
    if (isBinaryLoss(spec)) {
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
function top1(op: Builder, spec: ClassLossSpec, given: Value, wanted: Value): Value {
  const { logits, target, axis } = align(op, spec, given, wanted)
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

/**
 * −p·t·log σ(x) − (1 − t)·log(1 − σ(x)) with p the weight of "yes". It is the unweighted loss of t' = t·p/m, m times, where
 * m = t·p + 1 − t.
 */
function binaryCrossEntropy(op: Builder, { posWeight }: BinaryOptions, x: Value, t: Value): Value {
  if (!posWeight) return sigmoidCrossEntropy(op, x, t)
  const columns = x.rank < 2 ? 1 : x.shape[1]!
  if (posWeight.length !== 1 && posWeight.length !== columns) {
    throw new UsageError(
      `binary-cross-entropy: expected one weight of "yes", or ${columns}, found ${posWeight.length}`,
    )
  }
  if (!posWeight.every(weight => weight > 0))
    throw new UsageError(
      `binary-cross-entropy: weights of "yes" should be positive, found ${posWeight.join()}`,
    )
  const shape = posWeight.length === 1 ? [] : [columns, ...x.shape.slice(2).fill(1)]
  const weighted = op.Mul(t, op.constant(Tensor.of(x.dtype, shape, posWeight)))
  const mass = op.Add(weighted, op.Sub(op.scalarLike(t, 1), t))
  return op.Mul(sigmoidCrossEntropy(op, x, op.Div(weighted, mass)), mass)
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
