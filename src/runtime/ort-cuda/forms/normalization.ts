/** Normalizations that have no kernel: in training form, over stated axes, by groups of channels. */

import { float } from '../../../ir/attribute.ts'
import type { Builder } from '../../../ir/builder.ts'
import type { Value } from '../../../ir/value.ts'
import { EXPANSIONS } from '../../../ops/expansions/index.ts'
import type { NodeForm, NodeForms } from '../../../passes/index.ts'
import { standardize } from '../../../autodiff/standardize.ts'
import { sizeOf } from '../../../tensor/shape.ts'
import { scaled } from './elementwise.ts'

/**
 * The inference form on the statistics of the batch; the running ones move by running · momentum + batch · (1 − momentum).
 * The forms before opset 14 have other outputs and stay.
 */
const trainingBatchNorm: NodeForm = (op, node, reads) => {
  if (node.int('training_mode', 0) !== 1) return null
  const [x, scale, bias, mean, variance] = [0, 1, 2, 3, 4].map(i => node.input(i)) as [
    Value,
    Value,
    Value,
    Value,
    Value,
  ]
  const axes = x.shape.map((_, axis) => axis).filter(axis => axis !== 1)
  const center = op.ReduceMean(x, axes)
  const centered = op.Sub(x, center)
  const batchMean = op.Reshape(center, mean.shape)
  const batchVariance = op.ReduceMean(op.Mul(centered, centered), axes, false)
  const momentum = node.float('momentum', 0.9)
  const moved = (running: Value, found: Value) =>
    op.Add(scaled(op, running, momentum), scaled(op, op.Cast(found, running.dtype), 1 - momentum))
  const y = op.one(
    'BatchNormalization',
    [x, scale, bias, op.Cast(batchMean, mean.dtype), op.Cast(batchVariance, variance.dtype)],
    { shape: x.shape },
    { epsilon: float(node.float('epsilon', 1e-5)) },
  )
  return [y, reads(1) ? moved(mean, batchMean) : null, reads(2) ? moved(variance, batchVariance) : null]
}

/**
 * Each group of channels of each sample standardized; scale and bias for each channel (opset 21) or for each group (18).
 * ONNX Runtime would put the operator's definition here, which computes shapes with nodes of their own.
 */
const groupNormalization: NodeForm = (op, node) => {
  const [x, scale, bias] = [node.input(0), node.input(1), node.input(2)]
  const groups = node.int('num_groups', 1)
  const [n, size] = [x.shape[0]!, sizeOf(x.shape)]
  const { xhat } = standardize(
    op,
    op.Reshape(x, [n, groups, size / (n * groups)]),
    [2],
    node.float('epsilon', 1e-5),
  )
  const units = scale.shape[0]!
  const perUnit = (value: Value) => op.Reshape(value, [units, 1])
  const split = op.Reshape(xhat, [n, units, size / (n * units)])
  return op.Reshape(affine(op, split, perUnit(scale), perUnit(bias)), x.shape)
}

function affine(op: Builder, x: Value, scale: Value, bias: Value): Value {
  return op.Add(op.Mul(x, scale), bias)
}

export const normalizationForms: NodeForms = {
  BatchNormalization: [trainingBatchNorm],
  MeanVarianceNormalization: [EXPANSIONS.MeanVarianceNormalization],
  GroupNormalization: [groupNormalization],
}
