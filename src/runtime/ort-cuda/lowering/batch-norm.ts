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

/** Mean, then the mean square of what is left, then the normalization by these. */
export const batchNormTrainForCuda: Lowering = ({ op, node, inputs }) => {
  const [x, scale, bias, givenMean, givenVariance] = inputs as [Value, Value, Value, Value?, Value?]
  const axes = batchAxes(x)
  const mean = givenMean ?? op.ReduceMean(x, axes, false)
  const meanSquare = () => {
    const centered = centeredBy(op, x, mean)
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
 * merges equal nodes, which is why both passes write it alike.
 */
export const batchNormTrainGradForCuda: Lowering = ({ op, node, inputs, wants }) => {
  const [dy, x, scale, mean, variance] = inputs as [Value, Value, Value, Value, Value]
  const axes = batchAxes(x)
  const epsilon = node.float('epsilon', 1e-5)
  const dbias = wants(0) || wants(2) ? op.ReduceSum(dy, axes, false) : null
  if (!wants(0) && !wants(1)) return [null, null, dbias]

  const rstd = rsqrt(op, variance, epsilon)
  const dscale = op.Mul(rstd, op.ReduceSum(op.Mul(dy, centeredBy(op, x, mean)), axes, false))
  if (!wants(0)) return [null, dscale, dbias]

  const share = (sum: Value) => op.Mul(sum, op.scalarLike(sum, -x.shape[1]! / sizeOf(x.shape)))
  const rest = normalize(op, x, share(dscale), share(dbias!), { mean, variance, epsilon })
  return [op.Mul(op.Add(dy, rest), spread(op, op.Mul(scale, rstd), x)), dscale, dbias]
}

interface Statistics {
  readonly mean: Value
  readonly variance: Value
  readonly epsilon: number
}

/** scale · (x − mean) / √(variance + epsilon) + bias. */
function normalize(op: Builder, x: Value, scale: Value, bias: Value, statistics: Statistics): Value {
  const { mean, variance, epsilon } = statistics
  const attributes = { epsilon: float(epsilon) }
  return op.one('BatchNormalization', [x, scale, bias, mean, variance], { shape: x.shape }, attributes)
}

function centeredBy(op: Builder, x: Value, mean: Value): Value {
  return op.Sub(x, spread(op, mean, x))
}

/** A vector of channels, to broadcast against [N, C, i...]. */
function spread(op: Builder, perChannel: Value, x: Value): Value {
  return op.Reshape(perChannel, [x.shape[1]!, ...x.shape.slice(2).map(() => 1)])
}
