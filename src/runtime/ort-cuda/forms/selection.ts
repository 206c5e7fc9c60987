/** Celu, Mean, Hardmax and CastLike. */

import type { Value } from '../../../ir/value.ts'
import type { NodeForm, NodeForms } from '../../../passes/index.ts'
import { normalizeAxis } from '../../../tensor/shape.ts'
import { scaled } from './elementwise.ts'

/** max(0, x) + α · elu(min(0, x) / α). */
const celuByElu: NodeForm = (op, node) => {
  const x = node.input(0)
  const alpha = node.float('alpha', 1)
  const negative = op.Min(x, op.scalarLike(x, 0))
  const bent = op.one('Elu', [scaled(op, negative, 1 / alpha)], { shape: x.shape })
  return op.Add(op.Relu(x), scaled(op, bent, alpha))
}

/** The sum of the operands over their number. */
const meanBySum: NodeForm = (op, node) => {
  const operands = node.inputs.map((_, i) => node.input(i))
  const shape = node.output(0).shape
  const sum = operands.length === 1 ? operands[0]! : op.one('Sum', operands, { shape })
  return scaled(op, sum, 1 / operands.length)
}

/** One at the first of the largest elements along the axis: where as yet one of them was met, itself included. */
const hardmaxByCumSum: NodeForm = (op, node) => {
  const x = node.input(0)
  if (x.dtype !== 'float32') return null
  const axis = normalizeAxis(node.int('axis', -1), x.rank, node.label)
  const largest: Value = op.Cast(op.Equal(x, op.ReduceMax(x, [axis])), 'float32')
  const met = op.one('CumSum', [largest, op.scalar(axis, 'int64')], { shape: x.shape })
  const isFirst = op.Cast(op.Equal(met, op.scalarLike(met, 1)), 'float32')
  return op.Mul(largest, isFirst)
}

/** An operator that is defined as a Cast, which ONNX Runtime would put in its place. */
const castLikeByCast: NodeForm = (op, node) => op.Cast(node.input(0), node.input(1).dtype)

export const selectionForms: NodeForms = {
  Celu: [celuByElu],
  Mean: [meanBySum],
  Hardmax: [hardmaxByCumSum],
  CastLike: [castLikeByCast],
}
