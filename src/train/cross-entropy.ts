/** Cross-entropy of logits: labels, smoothing, class weights and the mean all become one target distribution. */

import { softmaxCrossEntropy } from '../autodiff/composites.ts'
import type { Builder } from '../ir/builder.ts'
import type { Value } from '../ir/value.ts'
import { DTYPES } from '../tensor/dtype.ts'
import { formatShape, normalizeAxis, sameShape, sizeOf } from '../tensor/shape.ts'
import { Tensor } from '../tensor/tensor.ts'
import { InputError, UsageError } from '../util/errors.ts'
import type { Reduction } from './losses.ts'

/** Options of torch.nn.CrossEntropyLoss. */
export interface ClassLossOptions {
  /** Integer labels of the logits' shape without the class axis (the default), or a distribution of the logits' shape. */
  readonly targets?: 'labels' | 'probabilities'
  /** Axis of the classes; default 1, of causal-lm the last one. */
  readonly axis?: number
  /** Moves this share of every target evenly over all classes. */
  readonly labelSmoothing?: number
  /** Samples with this label count nothing; default -100. Labels only. */
  readonly ignoreIndex?: number
  /** One weight for each class; the mean of labels is then the weighted mean. */
  readonly classWeights?: readonly number[]
  readonly reduction?: Reduction
}

export interface CrossEntropySpec extends ClassLossOptions {
  readonly kind: 'cross-entropy'
}

/** Cross-entropy whose terms are multiplied by (1 − p)^gamma, so that what is easy counts less (Lin et al. 2017). */
export interface FocalSpec extends ClassLossOptions {
  readonly kind: 'focal'
  /** Default 2. */
  readonly gamma?: number
}

/** Cross-entropy of the logits [N, T, V] at each position with the label [N, T] of the next position. */
export interface CausalSpec extends ClassLossOptions {
  readonly kind: 'causal-lm'
}

export type ClassLossSpec = CrossEntropySpec | FocalSpec | CausalSpec

export const IGNORE_INDEX = -100

/** A label that no sample has: int32's smallest. */
const NEVER = -2147483648

/** −Σ target · log softmax(logits), where `target` holds smoothing, weights and the divisor of the mean. */
export function crossEntropy(op: Builder, spec: ClassLossSpec, logits: Value, target: Value): Value {
  const { q, axis, aligned } = distribution(op, spec, logits, target)
  return softmaxCrossEntropy(op, aligned, q, axis)
}

/** As cross-entropy, each term of the target distribution multiplied by (1 − softmax(logits))^gamma. */
export function focal(op: Builder, spec: FocalSpec, logits: Value, target: Value): Value {
  const { q, axis, aligned } = distribution(op, spec, logits, target)
  const rest = op.Sub(op.scalarLike(aligned, 1), op.Softmax(aligned, axis))
  return softmaxCrossEntropy(op, aligned, op.Mul(q, focus(op, rest, spec.gamma)), axis)
}

/** rest^gamma, where `rest` is what the model leaves to everything but the target. */
export function focus(op: Builder, rest: Value, gamma = 2): Value {
  if (!(gamma >= 0)) throw new UsageError(`focal: gamma should not be negative, found ${gamma}`)
  return op.Pow(rest, op.scalarLike(rest, gamma))
}

/** Logits and targets of the same positions, and the axis of the classes. */
export function align(op: Builder, spec: ClassLossSpec, logits: Value, target: Value): Operands {
  const axis = classAxis(spec, logits)
  const shifted = spec.kind === 'causal-lm'
  if (!shifted) return { logits, target, axis, classes: logits.shape[axis]! }
  const length = logits.shape[1]!
  const labels = DTYPES[target.dtype].float ? target : op.Cast(target, 'int32')
  return {
    logits: op.Slice(logits, [0], [length - 1], [1]),
    target: op.Slice(labels, [1], [length], [1]),
    axis,
    classes: logits.shape[axis]!,
  }
}

/** The axis of the classes, from the front. */
export function classAxis(spec: ClassLossSpec, logits: Value): number {
  if (spec.kind !== 'causal-lm') return normalizeAxis(spec.axis ?? 1, logits.rank, spec.kind)
  if (logits.rank === 3 && logits.shape[1]! >= 2) return 2
  throw new InputError(
    `causal-lm: logits should be [samples, tokens, vocabulary] of two or more tokens, found ${logits.toString()}`,
  )
}

/** The target distribution of a loss, and the logits that it is about. */
function distribution(op: Builder, spec: ClassLossSpec, logits: Value, target: Value) {
  checkTarget(spec, logits, target)
  const operands = align(op, spec, logits, target)
  const { axis, classes } = operands
  const { labelSmoothing = 0, classWeights } = spec
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) {
    throw new UsageError(`${spec.kind}: label smoothing should be in [0, 1], found ${labelSmoothing}`)
  }
  if (classWeights && classWeights.length !== classes) {
    throw new UsageError(`${spec.kind}: expected ${classes} class weights, found ${classWeights.length}`)
  }
  const write = DTYPES[target.dtype].float ? distributionOfProbabilities : distributionOfLabels
  return { q: write(op, spec, operands), axis, aligned: operands.logits }
}

function checkTarget(spec: ClassLossSpec, logits: Value, target: Value): void {
  const soft = DTYPES[target.dtype].float
  const expected = soft ? logits.shape : logits.shape.toSpliced(classAxis(spec, logits), 1)
  if (sameShape(target.shape, expected)) return
  throw new InputError(
    soft
      ? `${spec.kind}: probabilities should have the shape of the logits ${logits.toString()}, found ${target.toString()}`
      : `${spec.kind}: labels should have shape ${formatShape(expected)} for logits ${logits.toString()}, found ${target.toString()}`,
  )
}

export interface Operands {
  readonly logits: Value
  readonly target: Value
  readonly axis: number
  readonly classes: number
}

/**
 * With w the class weights (1 by default), v[n] = 1 for samples that count and 0 for ignored ones, C classes and smoothing
 * ε: q[n, c] = v[n] · w[c] · ((1 − ε) · [c = label n] + ε / C), divided by Σ over n of v[n] · w[label n] for the mean.
 * A label outside [0, C) that is not ignore_index makes the loss NaN. (torch: LossNLL.cpp, cross_entropy_loss.)
 */
function distributionOfLabels(op: Builder, spec: ClassLossSpec, operands: Operands): Value {
  const { logits, target, axis, classes } = operands
  const ignored = spec.ignoreIndex ?? IGNORE_INDEX
  // int32, because WebGPU has no int64 data.
  const labels = op.Cast(op.Reshape(target, logits.shape.with(axis, 1)), 'int32')
  const names = Array.from({ length: classes }, (_, c) => (c === ignored ? NEVER : c))
  const known = op.constant(Tensor.of('int32', alongAxis(logits, axis), names))
  const hot = op.Cast(op.Equal(labels, known), logits.dtype)
  const weigh = classWeighing(op, spec, logits, axis)

  const counts = op.ReduceSum(hot, [axis])
  const q = weigh(smoothed(op, spec, hot, classes, counts))
  const all = logits.shape.map((_, i) => i)
  const total = spec.reduction === 'sum' ? op.scalarLike(logits, 1) : op.ReduceSum(weigh(hot), all, false)
  const due = op.Where(
    op.Equal(labels, op.scalar(ignored, 'int32')),
    op.scalarLike(logits, 0),
    op.scalarLike(logits, 1),
  )
  const strays = op.ReduceMax(op.Sub(due, counts), all, false)
  const valid = op.Less(strays, op.scalarLike(logits, 0.5))
  return op.Div(q, op.Where(valid, total, op.scalarLike(logits, NaN)))
}

/** q[n, c] = w[c] · ((1 − ε) · t[n, c] + ε / C), divided by the number of samples for the mean. */
function distributionOfProbabilities(op: Builder, spec: ClassLossSpec, operands: Operands): Value {
  const { logits, target, axis, classes } = operands
  const q = classWeighing(op, spec, logits, axis)(smoothed(op, spec, target, classes))
  const samples = spec.reduction === 'sum' ? 1 : sizeOf(logits.shape) / classes
  return samples === 1 ? q : op.Mul(q, op.scalarLike(q, 1 / samples))
}

/** (1 − ε) · t + ε / C · counts. */
function smoothed(op: Builder, spec: ClassLossSpec, t: Value, classes: number, counts?: Value): Value {
  const { labelSmoothing = 0 } = spec
  if (labelSmoothing === 0) return t
  const share = op.scalarLike(t, labelSmoothing / classes)
  const kept = op.Mul(t, op.scalarLike(t, 1 - labelSmoothing))
  return op.Add(kept, counts ? op.Mul(counts, share) : share)
}

function classWeighing(op: Builder, spec: ClassLossSpec, logits: Value, axis: number): (q: Value) => Value {
  const { classWeights } = spec
  if (!classWeights) return q => q
  const weights = op.constant(Tensor.of(logits.dtype, alongAxis(logits, axis), classWeights))
  return q => op.Mul(q, weights)
}

/** The shape that lays a vector along `axis`. */
function alongAxis(x: Value, axis: number): number[] {
  return x.shape.slice(axis).map((dim, i) => (i === 0 ? dim : 1))
}
