/** Gradients of Softmax and LogSoftmax (opset 13 and later: one axis). */

import { normalizeAxis } from '../../tensor/shape.ts'
import { rule, type GradientRule, type RuleContext, type RuleTable } from '../rule.ts'

function axisOf({ node }: RuleContext): number {
  return normalizeAxis(node.int('axis', -1), node.output(0).rank, node.label)
}

/** dx = y (dy - Σ y dy) = y dy - y Σ y dy */
const Softmax: GradientRule = context => {
  const { op, node, dy } = context
  const y = node.output(0)
  const weighted = op.Mul(dy, y)
  return [op.Sub(weighted, op.Mul(y, op.ReduceSum(weighted, [axisOf(context)])))]
}

/** dx = dy - softmax(x) Σ dy */
const LogSoftmax: GradientRule = context => {
  const { op, node, dy } = context
  const total = op.ReduceSum(dy, [axisOf(context)])
  return [op.Sub(dy, op.Mul(op.Exp(node.output(0)), total))]
}

export const softmaxRules: RuleTable = {
  Softmax: rule(Softmax),
  LogSoftmax: rule(LogSoftmax),
}
