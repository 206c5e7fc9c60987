/** Gradients of the poolings. */

import { sizeOf } from '../../tensor/shape.ts'
import { poolWindow } from '../../ops/window.ts'
import { averagePoolGrad, maxPoolGrad } from '../composites.ts'
import { rule, type GradientRule, type RuleTable } from '../rule.ts'

/** To the first maximum of each window. The Indices output, an integer tensor, has no gradient. */
const MaxPool: GradientRule = ({ op, node, dy }) => [
  maxPoolGrad(op, dy, node.input(0), node.output(0), poolWindow(node)),
]

const AveragePool: GradientRule = ({ op, node, dy }) => {
  const countIncludePad = node.int('count_include_pad', 0) !== 0
  return [averagePoolGrad(op, dy, node.input(0).shape, poolWindow(node), countIncludePad)]
}

/** dx = dy / n at each of the n positions. */
const GlobalAveragePool: GradientRule = ({ op, node, dy }) => {
  const x = node.input(0)
  const n = sizeOf(x.shape.slice(2))
  return [op.Expand(op.Mul(dy, op.scalarLike(dy, 1 / n)), x.shape)]
}

/** To the first maximum of each channel, as PyTorch's adaptive_max_pool (amax would split ties). */
const GlobalMaxPool: GradientRule = ({ op, node, dy }) => {
  const x = node.input(0)
  const [n, c] = x.shape as [number, number]
  const size = sizeOf(x.shape.slice(2))
  const flat = op.Reshape(x, [n, c, size])
  const at = op.one('ArgMax', [flat], { shape: [n, c, 1], dtype: 'int64' }, { axis: 2, keepdims: 1 })
  const zeros = op.full([n, c, size], 0, x.dtype)
  return [op.Reshape(op.ScatterElements(zeros, at, op.Reshape(dy, [n, c, 1]), 2, 'none'), x.shape)]
}

export const poolingRules: RuleTable = {
  MaxPool: rule(MaxPool),
  AveragePool: rule(AveragePool),
  GlobalAveragePool: rule(GlobalAveragePool),
  GlobalMaxPool: rule(GlobalMaxPool),
}
