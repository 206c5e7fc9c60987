/** Lowerings of the normalization composites to standard operators. */

import { float } from '../../ir/attribute.ts'
import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import { sizeOf } from '../../tensor/shape.ts'
import { batchAxes, rsqrt, standardize, standardizeGrad, type Standardized } from '../standardize.ts'
import { sumTo } from '../unbroadcast.ts'
import type { Lowering, LoweringContext } from './lower.ts'

/** Statistics in two passes, then the inference form of BatchNormalization with them: one pass on every engine. */
export const batchNormTrainByInference: Lowering = ({ op, node, inputs }) => {
  const [x, scale, bias, givenMean, givenVariance] = inputs as [Value, Value, Value, Value?, Value?]
  const statistics =
    givenMean && givenVariance ? { mean: givenMean, variance: givenVariance } : statisticsOfBatch(op, x)
  const { mean, variance } = statistics
  const epsilon = float(node.float('epsilon', 1e-5))
  const y = op.one('BatchNormalization', [x, scale, bias, mean, variance], { shape: x.shape }, { epsilon })
  return [y, mean, variance]
}

function statisticsOfBatch(op: Builder, x: Value): { mean: Value; variance: Value } {
  const axes = batchAxes(x)
  const mean = op.ReduceMean(x, axes)
  const centered = op.Sub(x, mean)
  const variance = op.ReduceMean(op.Mul(centered, centered), axes, false)
  return { mean: op.Reshape(mean, [x.shape[1]!]), variance }
}

/** The formula of the composite, with everything that depends on the channel alone computed on vectors of length C. */
export const batchNormTrainGradByChannel: Lowering = ({ op, node, inputs, wants }) => {
  const [dy, x, scale, mean, variance] = inputs as [Value, Value, Value, Value, Value]
  const axes = batchAxes(x)
  const n = sizeOf(x.shape) / x.shape[1]!
  const spread = (perChannel: Value) =>
    op.Reshape(perChannel, [x.shape[1]!, ...x.shape.slice(2).map(() => 1)])
  const dbias = wants(0) || wants(2) ? op.ReduceSum(dy, axes, false) : null
  if (!wants(0) && !wants(1)) return [null, null, dbias]

  const rstd = rsqrt(op, variance, node.float('epsilon', 1e-5))
  const centered = op.Sub(x, spread(mean))
  const dscale = op.Mul(rstd, op.ReduceSum(op.Mul(dy, centered), axes, false))
  if (!wants(0)) return [null, dscale, dbias]

  // dx = scale·rstd · (dy − dbias/n − centered · rstd·dscale/n)
  const share = (perChannel: Value) => spread(op.Mul(perChannel, op.scalarLike(perChannel, 1 / n)))
  const inner = op.Sub(op.Sub(dy, share(dbias!)), op.Mul(centered, share(op.Mul(rstd, dscale))))
  return [op.Mul(inner, spread(op.Mul(scale, rstd))), dscale, dbias]
}

/** The formula of the composite on the statistics of the forward node. */
export const layerNormGradByStatistics: Lowering = context => {
  const { op, node, inputs, wants } = context
  const [dy, x, scale] = inputs as [Value, Value, Value]
  const axes = x.shape.map((_, i) => i).slice(node.int('axis', 0))
  const dbias = wants(2) ? sumTo(op, dy, node.output(2).shape) : null
  if (!wants(0) && !wants(1)) return [null, null, dbias]

  const standardized = statisticsOf(context, axes)
  const dscale = wants(1) ? sumTo(op, op.Mul(dy, standardized.xhat), node.output(1).shape) : null
  const dx = wants(0) ? standardizeGrad(op, op.Mul(dy, scale), standardized, axes) : null
  return [dx, dscale, dbias]
}

/** x̂ and rstd from the Mean and InvStdDev outputs of the LayerNormalization node, or computed where it is not there. */
function statisticsOf(
  { op, node, inputs, companion }: LoweringContext,
  axes: readonly number[],
): Standardized {
  const [, x, , y] = inputs as [Value, Value, Value, Value]
  const spec = { shape: x.shape.map((dim, i) => (axes.includes(i) ? 1 : dim)), dtype: 'float32' as const }
  const mean = companion(y, 'LayerNormalization', 1, spec)
  const rstd = companion(y, 'LayerNormalization', 2, spec)
  if (!mean || !rstd) return standardize(op, x, axes, node.float('epsilon', 1e-5))
  const [m, r] = [op.Cast(mean, x.dtype), op.Cast(rstd, x.dtype)]
  return { xhat: op.Mul(op.Sub(x, m), r), rstd: r }
}
