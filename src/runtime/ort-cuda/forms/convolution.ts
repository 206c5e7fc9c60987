/** ConvTranspose with pads that cuDNN does not take. */

import type { Value } from '../../../ir/value.ts'
import { reachOf, transposedWindow } from '../../../ops/window.ts'
import { sliceSpatial } from '../../../ops/spatial.ts'
import type { NodeForm, NodeForms } from '../../../passes/index.ts'
import { hasSymmetricPads } from '../capabilities.ts'

/**
 * The pads that both ends share stay with the node; what one end has more is sliced off its result. `output_padding` stands
 * for elements behind the natural end, which no window reached: where there are any, they are the bias alone.
 */
const withSymmetricPads: NodeForm = (op, node) => {
  if (hasSymmetricPads(node)) return null
  const y = node.output(0)
  const window = transposedWindow(node)
  const pads = window.map(axis => Math.max(0, Math.min(axis.begin, axis.end)))
  const starts = window.map((axis, i) => axis.begin - pads[i]!)
  const extra = window.map((axis, i) => Math.max(0, starts[i]! + axis.input + 2 * pads[i]! - reachOf(axis)))
  // Negative pads, and more output padding than the operator allows, keep the node.
  if (starts.some(start => start < 0) || extra.some((size, i) => size >= largest(window[i]!))) return null
  const sizes = window.map((axis, i) => reachOf(axis) - 2 * pads[i]! + extra[i]!)
  const attributes = {
    kernel_shape: window.map(axis => axis.kernel),
    strides: window.map(axis => axis.stride),
    dilations: window.map(axis => axis.dilation),
    pads: [...pads, ...pads],
    output_padding: extra.some(size => size > 0) ? extra : undefined,
    group: node.int('group', 1),
  }
  const shape = [...y.shape.slice(0, 2), ...sizes]
  const full: Value = op.one('ConvTranspose', [...node.inputs], { shape }, attributes)
  const ranges = window.map((axis, i) => ({ start: starts[i]!, stop: starts[i]! + axis.input }))
  return sliceSpatial(op, full, ranges)
}

function largest({ stride, dilation }: { readonly stride: number; readonly dilation: number }): number {
  return Math.max(stride, dilation)
}

export const convTransposeForms: NodeForms = { ConvTranspose: [withSymmetricPads] }
