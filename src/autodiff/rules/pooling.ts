/** Gradients of the poolings. */

import type { Value } from '../../ir/value.ts'
import { applyAlongAxis, sumMatrix, transposed } from '../../ops/axis-matrix.ts'
import { lpPool, lpWindow } from '../../ops/expansions/pooling.ts'
import { sizeOf } from '../../tensor/shape.ts'
import { poolWindow } from '../../ops/window.ts'
import { averagePoolGrad, maxPoolGrad } from '../composites.ts'
import { rule, type GradientRule, type RuleContext, type RuleTable } from '../rule.ts'
import { gate, sign } from './common.ts'

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

/**
 * y = (Σ |x|ᵖ)^(1/p): dx = sign(x) · |x|^(p−1) · Σ dy · y^(1−p) over the windows that hold x; windows of zeros give nothing.
 * `spread` adds those up.
 */
function lpGrad(context: RuleContext, y: Value, spread: (dy: Value) => Value): Value {
  const { op, node, dy } = context
  const x = node.input(0)
  const p = node.int('p', 2)
  if (p === 1) return op.Mul(sign(op, x), spread(dy))
  const power = p === 2 ? y : op.Pow(y, op.scalarLike(y, p - 1))
  const whole = spread(gate(op, op.Greater(y, op.scalarLike(y, 0)), op.Div(dy, power)))
  if (p === 2) return op.Mul(x, whole)
  return op.Mul(op.Mul(x, op.Pow(op.Abs(x), op.scalarLike(x, p - 2))), whole)
}

/**
 * With ceil_mode y is computed again: ONNX Runtime's shape inference counts windows that its kernel leaves out, and then
 * refuses what combines y with anything.
 */
const LpPool: GradientRule = context => {
  const { op, node } = context
  const y = node.int('ceil_mode', 0) === 0 ? node.output(0) : lpPool(op, node)
  const window = lpWindow(node)
  const spread = (dy: Value) =>
    window.reduce((dx, axis, i) => applyAlongAxis(op, dx, i + 2, transposed(sumMatrix(axis))), dy)
  return [lpGrad(context, y, spread)]
}

/** Back from where the elements were put. */
const MaxUnpool: GradientRule = ({ op, node, dy }) => {
  const [x, indices] = [node.input(0), node.input(1)]
  const flat = op.Reshape(dy, [sizeOf(dy.shape)])
  return [op.Gather(flat, op.Reshape(indices, x.shape), 0), ...node.inputs.slice(1).map(() => null)]
}

export const poolingRules: RuleTable = {
  MaxPool: rule(MaxPool),
  AveragePool: rule(AveragePool),
  GlobalAveragePool: rule(GlobalAveragePool),
  GlobalMaxPool: rule(GlobalMaxPool),
  LpPool: rule(LpPool),
  GlobalLpPool: rule(context => [lpGrad(context, context.node.output(0), dy => dy)]),
  MaxUnpool: rule(MaxUnpool),
}
