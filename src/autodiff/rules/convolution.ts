/** Gradients of Conv and ConvTranspose. Each is the transpose of the other, so they share their composites. */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import { sliceSpatial } from '../../ops/spatial.ts'
import { convWindow, reachOf, transposedWindow, windowAttributes, type Window } from '../../ops/window.ts'
import type { Shape } from '../../tensor/shape.ts'
import { convInputGrad, convWeightGrad } from '../composites.ts'
import { rule, type GradientRule, type RuleTable } from '../rule.ts'

const Conv: GradientRule = context => {
  const { op, node, dy } = context
  const [x, w] = [node.input(0), node.input(1)]
  const window = convWindow(node)
  const group = node.int('group', 1)
  return [
    context.needs(0) ? convInputGrad(op, dy, w, x.shape, window, group) : null,
    context.needs(1) ? convWeightGrad(op, x, dy, window, group) : null,
    context.needs(2) ? biasGrad(op, dy) : null,
  ]
}

/**
 * y = ConvTranspose(x, w): y[n, m, i·stride + k·dilation − begin] += x[n, c, i] · w[c, m, k]. Hence dx = Conv(dy, w) with
 * w [C, M/group, k...] read as a Conv weight, and dw is the weight gradient of that Conv, whose input is dy and whose
 * output gradient is x.
 */
const ConvTranspose: GradientRule = context => {
  const { op, node, dy } = context
  const [x, w] = [node.input(0), node.input(1)]
  const window = transposedWindow(node)
  const group = node.int('group', 1)
  return [
    context.needs(0) ? convOf(op, dy, w, x.shape, window, group) : null,
    context.needs(1) ? convWeightGrad(op, dy, x, window, group) : null,
    context.needs(2) ? biasGrad(op, dy) : null,
  ]
}

/** db[m] = Σ over batch and space of dy[n, m, o]. */
function biasGrad(op: Builder, dy: Value): Value {
  return op.ReduceSum(dy, [0, ...dy.shape.map((_, i) => i).slice(2)], false)
}

/** Conv of `x` that yields exactly the window's outputs: what lies behind the last window is cut off. */
function convOf(op: Builder, x: Value, w: Value, output: Shape, window: Window, group: number): Value {
  const exact = window.map(axis => ({ ...axis, end: Math.max(0, reachOf(axis) - axis.begin - axis.input) }))
  const body = sliceSpatial(
    op,
    x,
    window.map(axis => ({ start: 0, stop: reachOf(axis) - axis.begin })),
  )
  return op.one('Conv', [body, w], { shape: output }, { ...windowAttributes(exact), group })
}

export const convolutionRules: RuleTable = {
  Conv: rule(Conv),
  ConvTranspose: rule(ConvTranspose),
}
