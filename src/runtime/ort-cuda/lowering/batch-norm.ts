/**
 * Batch normalization for GPUs, where a pass over memory is what costs: the inference form of BatchNormalization is an
 * affine map of each channel in one pass, so that it serves in both directions.
 */

import { batchAxes, rsqrt } from '../../../autodiff/standardize.ts'
import type { Lowering } from '../../../autodiff/lowering/index.ts'
import { float } from '../../../ir/attribute.ts'
import type { Builder } from '../../../ir/builder.ts'
import type { Value } from '../../../ir/value.ts'
import { sizeOf } from '../../../tensor/shape.ts'
import { Tensor } from '../../../tensor/tensor.ts'

/**
 * Mean, then the mean square of what is left, then the normalization by these. Statistics of float16 values are float32:
 * their float32 copy lives as long as they take.
 */
export const batchNormTrainForCuda: Lowering = ({ op, node, inputs }) => {
  const [x, scale, bias, givenMean, givenVariance] = inputs as [Value, Value, Value, Value?, Value?]
  const axes = batchAxes(x)
  const mean = givenMean ?? op.ReduceMean(whole(op, x), axes, false)
  const meanSquare = () => {
    const centered = centeredBy(op, whole(op, x), mean)
    return op.ReduceMean(op.Mul(centered, centered), axes, false)
  }
  const variance = givenVariance ?? meanSquare()
  const y = normalize(op, x, scale, bias, { mean, variance, epsilon: node.float('epsilon', 1e-5) })
  return [y, mean, variance]
}

/**
 * With n elements per channel: dbias = Σ dy, dscale = rstd · Σ dy·(x − mean), and
 *
 *     dx = scale · rstd · (dy + [−dscale/n · (x − mean)·rstd − dbias/n])
 *
 * whose bracket is the inference form with other scales and biases. ONNX Runtime finds x − mean in the forward pass: it
 * merges equal nodes, which is why both passes write it alike. In mixed precision they do not: x − mean is written in
 * float16, for its float32 copy would be kept from one pass to the other.
 */
export const batchNormTrainGradForCuda: Lowering = ({ op, node, inputs, wants }) => {
  const [dy, x, scale, mean, variance] = inputs as [Value, Value, Value, Value, Value]
  const axes = batchAxes(x)
  const epsilon = node.float('epsilon', 1e-5)
  const dbias = wants(0) || wants(2) ? op.ReduceSum(whole(op, dy), axes, false) : null
  if (!wants(0) && !wants(1)) return [null, null, dbias]

  const rstd = rsqrt(op, variance, epsilon)
  const product = op.Mul(whole(op, dy), whole(op, centeredBy(op, x, mean)))
  const dscale = op.Mul(rstd, op.ReduceSum(product, axes, false))
  if (!wants(0)) return [null, dscale, dbias]

  const share = (sum: Value) => op.Mul(sum, op.scalarLike(sum, -x.shape[1]! / sizeOf(x.shape)))
  const rest = normalize(op, x, share(dscale), share(dbias!), { mean, variance, epsilon })
  const factor = op.Cast(op.Mul(scale, rstd), dy.dtype)
  return [op.Mul(op.Add(dy, rest), spread(op, factor, x)), dscale, dbias]
}

interface Statistics {
  readonly mean: Value
  readonly variance: Value
  readonly epsilon: number
}

/** scale · (x − mean) / √(variance + epsilon) + bias. */
function normalize(op: Builder, x: Value, scale: Value, bias: Value, statistics: Statistics): Value {
  const { mean, variance, epsilon } = statistics
  const parts = x.dtype === 'float16' ? inHalf(op, scale, bias, statistics) : [scale, bias, mean, variance]
  const attributes = { epsilon: float(epsilon) }
  return op.one('BatchNormalization', [x, ...parts], { shape: x.shape }, attributes)
}

/**
 * Scale, bias, mean and variance in float16, which the operator wants of the type of x. A variance would overflow, so the
 * root of it is part of the scale; what the mean loses by rounding, the bias makes up for.
 */
function inHalf(op: Builder, scale: Value, bias: Value, { mean, variance, epsilon }: Statistics): Value[] {
  const a = op.Mul(scale, rsqrt(op, variance, epsilon))
  const rounded = op.Cast(mean, 'float16')
  const b = op.Add(bias, op.Mul(a, op.Sub(op.Cast(rounded, 'float32'), mean)))
  const ones = op.constant(
    Tensor.of('float16', variance.shape, new Array<number>(sizeOf(variance.shape)).fill(1)),
  )
  const gain = op.Mul(a, op.scalar(Math.sqrt(1 + epsilon)))
  return [op.Cast(gain, 'float16'), op.Cast(b, 'float16'), rounded, ones]
}

function centeredBy(op: Builder, x: Value, mean: Value): Value {
  return op.Sub(x, spread(op, op.Cast(mean, x.dtype), x))
}

/** float16 as float32. */
function whole(op: Builder, x: Value): Value {
  return x.dtype === 'float16' ? op.Cast(x, 'float32') : x
}

/** A vector of channels, to broadcast against [N, C, i...]. */
function spread(op: Builder, perChannel: Value, x: Value): Value {
  return op.Reshape(perChannel, [x.shape[1]!, ...x.shape.slice(2).map(() => 1)])
}
