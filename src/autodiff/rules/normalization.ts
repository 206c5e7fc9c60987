/** Gradients of the normalizations. */

import type { Value } from '../../ir/value.ts'
import { applyAlongAxis, transposed } from '../../ops/axis-matrix.ts'
import { DEVIATION_EPSILON, lrnTerms, varianceAxes } from '../../ops/expansions/normalization.ts'
import { normalizeAxis, sizeOf } from '../../tensor/shape.ts'
import { invariant, UnsupportedError } from '../../util/errors.ts'
import { batchNormTrainGrad, compositeKey, layerNormGrad } from '../composites.ts'
import { rule, type GradientRule, type RuleContext, type RuleTable } from '../rule.ts'
import { rsqrt, standardize, standardizeGrad } from '../standardize.ts'
import { sumTo } from '../unbroadcast.ts'
import { gate, range, scale, shift, sign } from './common.ts'

/**
 * Given statistics: y = (x − mean) · r · scale + bias with r = 1 / √(var + epsilon) per channel, so
 * dx = dy · scale · r, dscale = r · Σ dy · (x − mean), dbias = Σ dy. Running statistics ask for no gradient; those that
 * the graph computes, as where weights are standardized, do: dmean = −scale · r · Σ dy,
 * dvar = −½ · scale · r³ · Σ dy · (x − mean).
 */
const BatchNormalization: GradientRule = context => {
  const { op, node, dy } = context
  if (node.int('training_mode', 0) !== 0 || node.outputs[1]) {
    throw new UnsupportedError(
      `gradient: ${node.label} is in training form, expected BatchNormTrain in its place`,
      {
        cure: 'replace it by toTrainingBatchNorm before differentiating',
      },
    )
  }
  const [x, scale, mean, variance] = [0, 1, 3, 4].map(i => node.input(i)) as [Value, Value, Value, Value]
  const r = rsqrt(op, variance, node.float('epsilon', 1e-5))
  const perChannel = [scale.shape[0]!, ...x.shape.slice(2).map(() => 1)]
  const others = range(x.rank).filter(axis => axis !== 1)
  const gain = op.Mul(scale, r)
  const sum = () => op.ReduceSum(dy, others, false)
  const centeredSum = () => {
    const centered = op.Sub(x, op.Reshape(mean, perChannel))
    return op.ReduceSum(op.Mul(dy, centered), others, false)
  }
  const dvariance = () => op.Mul(op.Mul(gain, op.Mul(r, r)), op.Mul(centeredSum(), op.scalarLike(x, -0.5)))
  return [
    context.needs(0) ? op.Mul(dy, op.Reshape(gain, perChannel)) : null,
    context.needs(1) ? op.Mul(r, centeredSum()) : null,
    context.needs(2) ? sum() : null,
    context.needs(3) ? op.Neg(op.Mul(gain, sum())) : null,
    context.needs(4) ? dvariance() : null,
  ]
}

const BatchNormTrain: GradientRule = context => {
  const { op, node, grads } = context
  invariant(!grads[1] && !grads[2], `${node.label}: batch statistics carry no gradient`)
  const [x, scale, mean, variance] = [node.input(0), node.input(1), node.output(1), node.output(2)]
  const needs = [context.needs(0), context.needs(1), context.needs(2)] as const
  return batchNormTrainGrad(
    op,
    { dy: context.dy, x, scale, mean, variance },
    node.float('epsilon', 1e-5),
    needs,
  )
}

const LayerNormalization: GradientRule = context => {
  const { op, node, grads } = context
  if (grads[1] ?? grads[2]) {
    throw new UnsupportedError(`gradient: Mean and InvStdDev of ${node.label} are used, expected only Y`)
  }
  const [x, scale, y] = [node.input(0), node.input(1), node.output(0)]
  const attributes = {
    axis: normalizeAxis(node.int('axis', -1), x.rank, node.label),
    epsilon: node.float('epsilon', 1e-5),
  }
  const inputs = { dy: context.dy, x, scale, y, bias: node.inputs[2]?.shape ?? scale.shape }
  const needs = [context.needs(0), context.needs(1), context.needs(2)] as const
  return layerNormGrad(op, inputs, attributes, needs)
}

/**
 * y = x · r · scale with r = 1 / √(mean(x²) + epsilon): with g = dy · scale and x̂ = x · r,
 * dx = r · (g − x̂ · mean(g · x̂)).
 */
const RMSNormalization: GradientRule = context => {
  const { op, node, dy } = context
  const [x, scale] = [node.input(0), node.input(1)]
  const first = normalizeAxis(node.int('axis', -1), x.rank, node.label)
  const axes = range(x.rank).slice(first)
  const r = rsqrt(op, op.ReduceMean(op.Mul(x, x), axes), node.float('epsilon', 1e-5))
  const xhat = op.Mul(x, r)
  const dx = () => {
    const g = op.Mul(dy, scale)
    return op.Mul(r, op.Sub(g, op.Mul(xhat, op.ReduceMean(op.Mul(g, xhat), axes))))
  }
  return [context.needs(0) ? dx() : null, context.needs(1) ? sumTo(op, op.Mul(dy, xhat), scale.shape) : null]
}

/** Standardization of each group of channels of each sample; scale and bias per channel or per group. */
function groupNormalization(context: RuleContext, groups: number): (Value | null)[] {
  const { op, node, dy } = context
  const [x, scale] = [node.input(0), node.input(1)]
  const n = x.shape[0]!
  const units = scale.shape[0]!
  const size = sizeOf(x.shape)
  const grouped = [n, groups, size / (n * groups)]
  const scaled = [n, units, size / (n * units)]
  const dyScaled = op.Reshape(dy, scaled)
  const standardized = standardize(op, op.Reshape(x, grouped), [2], node.float('epsilon', 1e-5))
  const dx = () => {
    const g = op.Reshape(op.Mul(dyScaled, op.Reshape(scale, [units, 1])), grouped)
    return op.Reshape(standardizeGrad(op, g, standardized, [2]), x.shape)
  }
  const dscale = () => op.ReduceSum(op.Mul(dyScaled, op.Reshape(standardized.xhat, scaled)), [0, 2], false)
  return [
    context.needs(0) ? dx() : null,
    context.needs(1) ? dscale() : null,
    context.needs(2) ? op.ReduceSum(dyScaled, [0, 2], false) : null,
  ]
}

/** Every channel is a group of its own. */
const InstanceNormalization: GradientRule = context =>
  groupNormalization(context, context.node.input(0).shape[1]!)

const GroupNormalization: GradientRule = context => {
  const groups = context.node.int('num_groups', 0)
  invariant(groups > 0, `${context.node.label}: attribute num_groups is missing`)
  return groupNormalization(context, groups)
}

/** y = x / n, n = Σ |x| or √Σ x² along the axis: dx = (dy − dn/dx · Σ dy · y) / n, and 0 where n is 0. */
const LpNormalization: GradientRule = ({ op, node, dy }) => {
  const [x, y] = [node.input(0), node.output(0)]
  const axes = [normalizeAxis(node.int('axis', -1), x.rank, node.label)]
  const isL1 = node.int('p', 2) === 1
  const n = isL1 ? op.ReduceSum(op.Abs(x), axes) : op.Sqrt(op.ReduceSum(op.Mul(x, x), axes))
  const slope = isL1 ? sign(op, x) : y
  const dx = op.Sub(dy, op.Mul(slope, op.ReduceSum(op.Mul(dy, y), axes)))
  return [gate(op, op.Greater(n, op.scalarLike(n, 0)), op.Div(dx, n))]
}

/** A standardization whose epsilon is added to the deviation, so small that it matters to no derivative. */
const MeanVarianceNormalization: GradientRule = ({ op, node, dy }) => {
  const [x, y] = [node.input(0), node.output(0)]
  const axes = varianceAxes(node)
  const centered = op.Sub(x, op.ReduceMean(x, axes))
  const deviation = op.Sqrt(op.ReduceMean(op.Mul(centered, centered), axes))
  const rstd = op.Reciprocal(op.Add(deviation, op.scalarLike(x, DEVIATION_EPSILON)))
  return [standardizeGrad(op, dy, { xhat: y, rstd }, axes)]
}

/**
 * y = x · d^−β with d = bias + α/n · Σ x² over neighbouring channels:
 * dx = dy · d^−β − 2β · α/n · x · Σ (dy · y / d), the sum over the channels whose window holds x's.
 */
const LRN: GradientRule = ({ op, node, dy }) => {
  const [x, y] = [node.input(0), node.output(0)]
  const { alpha, beta, bias, window } = lrnTerms(node)
  const sums = applyAlongAxis(op, op.Mul(x, x), 1, window)
  const d = shift(op, scale(op, sums, alpha), bias)
  const through = applyAlongAxis(op, op.Div(op.Mul(dy, y), d), 1, transposed(window))
  const direct = op.Mul(dy, op.Pow(d, op.scalarLike(d, -beta)))
  return [op.Sub(direct, op.Mul(x, scale(op, through, 2 * alpha * beta)))]
}

export const normalizationRules: RuleTable = {
  BatchNormalization: rule(BatchNormalization),
  [compositeKey('BatchNormTrain')]: rule(BatchNormTrain),
  LayerNormalization: rule(LayerNormalization),
  RMSNormalization: rule(RMSNormalization),
  InstanceNormalization: rule(InstanceNormalization),
  GroupNormalization: rule(GroupNormalization),
  LpNormalization: rule(LpNormalization),
  MeanVarianceNormalization: rule(MeanVarianceNormalization),
  LRN: rule(LRN),
}
