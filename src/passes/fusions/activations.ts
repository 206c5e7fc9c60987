/** Activation functions that ONNX Runtime's optimiser writes as one node. */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import type { NodeForm, NodeForms } from '../replace-nodes.ts'

const times = (op: Builder, x: Value, k: number) => op.Mul(x, op.scalarLike(x, k))
const plus = (op: Builder, x: Value, k: number) => op.Add(x, op.scalarLike(x, k))

/** x/2 · (1 + erf(x/√2)) */
function gelu(op: Builder, x: Value): Value {
  return op.Mul(times(op, x, 0.5), plus(op, op.Erf(times(op, x, Math.SQRT1_2)), 1))
}

/** x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))) */
function fastGelu(op: Builder, x: Value): Value {
  const root = Math.sqrt(2 / Math.PI)
  const inner = op.Mul(x, plus(op, times(op, op.Mul(x, x), root * 0.044715), root))
  return op.Mul(times(op, x, 0.5), plus(op, op.Tanh(inner), 1))
}

/** A function of the sum of both inputs; the second may be absent. */
const ofBiased =
  (write: (op: Builder, x: Value) => Value): NodeForm =>
  (op, node) => {
    const bias = node.inputs[1]
    return write(op, bias ? op.Add(node.input(0), bias) : node.input(0))
  }

/** x · σ(α x) */
const quickGelu: NodeForm = (op, node) => {
  const x = node.input(0)
  return op.Mul(x, op.Sigmoid(times(op, x, node.float('alpha', 1.702))))
}

export const activationFusions: NodeForms = {
  'com.microsoft.Gelu': [ofBiased(gelu)],
  'com.microsoft.BiasGelu': [ofBiased(gelu)],
  'com.microsoft.FastGelu': [ofBiased(fastGelu)],
  'com.microsoft.QuickGelu': [quickGelu],
}
