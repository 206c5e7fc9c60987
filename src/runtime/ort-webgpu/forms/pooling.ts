/**
 * Poolings that the WebGPU kernels refuse, or whose shape ONNX Runtime infers wrongly: with ceil_mode the kernels leave out
 * windows that begin behind the input, shape inference counts them, and a buffer of the wrong size is then used again for
 * another node ("Shape mismatch attempting to re-use buffer").
 */

import type { Builder } from '../../../ir/builder.ts'
import type { Node } from '../../../ir/node.ts'
import type { Value } from '../../../ir/value.ts'
import { applyAlongAxis, averageMatrix } from '../../../ops/axis-matrix.ts'
import { poolWindow, reachOf, wholeWindows, windowAttributes } from '../../../ops/window.ts'
import type { NodeForm, NodeForms } from '../../../passes/index.ts'

/** The node without some of its attributes. */
function without(op: Builder, node: Node, names: readonly string[]): Value {
  const y = op.one(node.opType, node.inputs, { shape: node.output(0).shape })
  for (const [name, attribute] of node.attributes) {
    if (!names.includes(name)) y.producer!.attributes.set(name, attribute)
  }
  return y
}

/** The order in which Indices count: the kernel knows one only, also where nobody reads them. */
const orderOfNothing: NodeForm = (op, node, reads) =>
  node.int('storage_order', 0) === 0 || reads(1) ? null : without(op, node, ['storage_order'])

/** ceil_mode that adds no window. */
const ceilOfNothing: NodeForm = (op, node, reads) => {
  if (node.int('ceil_mode', 0) === 0 || reads(1)) return null
  const adds = poolWindow(node).some(axis => axis.output > wholeWindows(axis))
  return adds ? null : without(op, node, ['ceil_mode'])
}

/** ceil_mode as padding: just so much behind the input that the last window is whole. Indices do not count padding. */
const ceilByPads: NodeForm = (op, node, reads) => {
  if (node.int('ceil_mode', 0) === 0) return null
  const window = poolWindow(node).map(axis => ({
    ...axis,
    end: Math.max(0, reachOf(axis) - axis.begin - axis.input),
  }))
  // Pads are refused below zero, and from the size of the kernel on.
  if (window.some(axis => axis.begin < 0 || Math.max(axis.begin, axis.end) >= axis.kernel)) return null
  const { shape } = node.output(0)
  const outputs = reads(1) ? [{ shape }, { shape, dtype: 'int64' as const }] : [{ shape }]
  const order = node.int('storage_order', 0)
  const attributes = { ...windowAttributes(window), ...(order === 0 ? {} : { storage_order: order }) }
  return op.emit('MaxPool', [node.input(0)], outputs, attributes)
}

/** The product of one matrix for each axis; padding would change the divisors. */
const ceilByMatMul: NodeForm = (op, node) => {
  if (node.int('ceil_mode', 0) === 0) return null
  const countIncludePad = node.int('count_include_pad', 0) !== 0
  return poolWindow(node).reduce(
    (x, axis, i) => applyAlongAxis(op, x, i + 2, averageMatrix(axis, countIncludePad)),
    node.input(0),
  )
}

export const poolingForms: NodeForms = {
  MaxPool: [orderOfNothing, ceilOfNothing, ceilByPads],
  AveragePool: [ceilOfNothing, ceilByMatMul],
}
