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
export interface CrossEntropySpec {
  readonly kind: 'cross-entropy'
  /** Integer labels of the logits' shape without the class axis (the default), or a distribution of the logits' shape. */
  readonly targets?: 'labels' | 'probabilities'
  /** Axis of the classes; default 1. */
  readonly axis?: number
  /** Moves this share of every target evenly over all classes. */
  readonly labelSmoothing?: number
  /** Samples with this label count nothing; default -100. Labels only. */
  readonly ignoreIndex?: number
  /** One weight for each class; the mean of labels is then the weighted mean. */
  readonly classWeights?: readonly number[]
  readonly reduction?: Reduction
}

export const IGNORE_INDEX = -100

/** A label that no sample has: int32's smallest. */
const NEVER = -2147483648

/** −Σ target · log softmax(logits), where `target` holds smoothing, weights and the divisor of the mean. */
export function crossEntropy(op: Builder, spec: CrossEntropySpec, logits: Value, target: Value): Value {
  const axis = normalizeAxis(spec.axis ?? 1, logits.rank, 'cross-entropy')
  const classes = logits.shape[axis]!
  const { labelSmoothing = 0, classWeights } = spec
  if (!(labelSmoothing >= 0 && labelSmoothing <= 1)) {
    throw new UsageError(`cross-entropy: label smoothing should be in [0, 1], found ${labelSmoothing}`)
  }
  if (classWeights && classWeights.length !== classes) {
    throw new UsageError(`cross-entropy: expected ${classes} class weights, found ${classWeights.length}`)
  }
  const write = DTYPES[target.dtype].float ? distributionOfProbabilities : distributionOfLabels
  return softmaxCrossEntropy(op, logits, write(op, spec, { logits, target, axis, classes }), axis)
}

interface Operands {
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
function distributionOfLabels(op: Builder, spec: CrossEntropySpec, operands: Operands): Value {
  const { logits, target, axis, classes } = operands
  const expected = logits.shape.toSpliced(axis, 1)
  if (!sameShape(target.shape, expected)) {
    throw new InputError(
      `cross-entropy: labels should have shape ${formatShape(expected)} for logits ${logits.toString()}, found ${target.toString()}`,
    )
  }
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
function distributionOfProbabilities(op: Builder, spec: CrossEntropySpec, operands: Operands): Value {
  const { logits, target, axis, classes } = operands
  if (!sameShape(target.shape, logits.shape)) {
    throw new InputError(
      `cross-entropy: probabilities should have the shape of the logits ${logits.toString()}, found ${target.toString()}`,
    )
  }
  const q = classWeighing(op, spec, logits, axis)(smoothed(op, spec, target, classes))
  const samples = spec.reduction === 'sum' ? 1 : sizeOf(logits.shape) / classes
  return samples === 1 ? q : op.Mul(q, op.scalarLike(q, 1 / samples))
}

/** (1 − ε) · t + ε / C · counts. */
function smoothed(op: Builder, spec: CrossEntropySpec, t: Value, classes: number, counts?: Value): Value {
  const { labelSmoothing = 0 } = spec
  if (labelSmoothing === 0) return t
  const share = op.scalarLike(t, labelSmoothing / classes)
  const kept = op.Mul(t, op.scalarLike(t, 1 - labelSmoothing))
  return op.Add(kept, counts ? op.Mul(counts, share) : share)
}

function classWeighing(
  op: Builder,
  spec: CrossEntropySpec,
  logits: Value,
  axis: number,
): (q: Value) => Value {
  const { classWeights } = spec
  if (!classWeights) return q => q
  const weights = op.constant(Tensor.of(logits.dtype, alongAxis(logits, axis), classWeights))
  return q => op.Mul(q, weights)
}

/** The shape that lays a vector along `axis`. */
function alongAxis(x: Value, axis: number): number[] {
  return x.shape.slice(axis).map((dim, i) => (i === 0 ? dim : 1))
}
