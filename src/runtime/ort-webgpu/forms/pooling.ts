/** Poolings whose shape ONNX Runtime infers wrongly. */

import { poolWindow, wholeWindows } from '../../../ops/window.ts'
import type { NodeForm, NodeForms } from '../../../passes/index.ts'

/**
 * ceil_mode that adds no window, because it would begin behind the input: its kernel leaves it out, but shape inference
 * counts it, and a buffer of the wrong size is then used again for another node ("Shape mismatch attempting to re-use
 * buffer").
 */
const ceilOfNothing: NodeForm = (op, node) => {
  if (node.int('ceil_mode', 0) === 0 || node.outputs[1]) return null
  if (poolWindow(node).some(axis => axis.output > wholeWindows(axis))) return null
  const y = op.one(node.opType, node.inputs, { shape: node.output(0).shape })
  for (const [name, attribute] of node.attributes) {
    if (name !== 'ceil_mode') y.producer!.attributes.set(name, attribute)
  }
  return y
}

export const poolingForms: NodeForms = {
  MaxPool: [ceilOfNothing],
  AveragePool: [ceilOfNothing],
}
