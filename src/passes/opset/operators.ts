/** Raises that change what an operator is. */

import { int, text, type Attribute } from '../../ir/attribute.ts'
import { Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import { tensorOf } from '../lift-constants.ts'
import type { RaiseContext } from './context.ts'
import type { Raise } from './inputs.ts'

/**
 * Softmax, LogSoftmax and Hardmax before opset 13 see a matrix: dimensions from `axis` (default 1) on are one row.
 * 1. `axis` is the last one: the same operator.
 * 2. All dimensions behind `axis` are 1: the same operator on `axis`.
 * 3. Otherwise: Flatten, the operator on the last axis, Reshape to the shape before.
 */
export const raiseCoerced: Raise = (node, context) => {
  const x = node.input(0)
  const axis = node.int('axis', 1)
  const rank = context.rankOf(x)
  const last = axis === -1 || (rank !== undefined && axis === rank - 1)
  const behind =
    x.type?.kind === 'tensor'
      ? x.type.shape?.slice(axis < 0 ? axis + x.type.shape.length + 1 : axis + 1)
      : null
  if (last || behind?.every(dim => dim === 1)) {
    node.attributes.set('axis', int(last ? -1 : axis))
    return null
  }
  const [matrix, rows, shape] = [
    context.value(node, 'matrix'),
    context.value(node, 'rows'),
    context.value(node, 'shape'),
  ]
  const named = (role: string) => (node.name ? { name: `${node.name}/${role}` } : {})
  return [
    new Node('Flatten', [x], [matrix], { ...named('flatten'), attributes: new Map([['axis', int(axis)]]) }),
    context.replacement(node, node.opType, [matrix], { axis: int(-1) }, [rows]),
    new Node('Shape', [x], [shape], named('shape')),
    new Node('Reshape', [rows, shape], [node.output(0)], named('reshape')),
  ]
}

export const raiseScatter: Raise = (node, context) => [
  context.replacement(node, 'ScatterElements', node.inputs, Object.fromEntries(node.attributes)),
]

/** Upsample-9 and Resize-10 compute `x_in = x_out / scale` without a half-pixel shift. */
export const raiseResize: Raise = (node, context) => {
  const mode = node.string('mode', 'nearest')
  const scales = node.input(1)
  const attributes: Record<string, Attribute> = {
    mode: text(mode === 'bilinear' ? 'linear' : mode),
    coordinate_transformation_mode: text('asymmetric'),
  }
  if (mode === 'nearest') attributes.nearest_mode = text(roundingOf(node, scales, context))
  return [context.replacement(node, 'Resize', [node.input(0), null, scales], attributes)]
}

/**
 * The specification leaves the rounding of nearest open; ONNX Runtime rounds up where it shrinks and down where it
 * enlarges. Scales that are computed are taken for enlarging ones.
 */
function roundingOf(node: Node, scales: Value, context: RaiseContext): 'floor' | 'ceil' {
  const tensor = tensorOf(scales)
  const factors = tensor?.resident ? tensor.toNumbers() : []
  const shrinks = factors.some(factor => factor < 1 && !Number.isInteger(1 / factor))
  const enlarges = factors.some(factor => factor > 1)
  if (shrinks && enlarges) throw context.unsupported(node, 'it enlarges one axis and shrinks another')
  return shrinks ? 'ceil' : 'floor'
}

/**
 * BatchNormalization-9 trains when it is asked for more than its first output; BatchNormalization-14 has an attribute
 * for that and gives no saved statistics.
 */
export const raiseBatchNorm: Raise = (node, context) => {
  const [, mean, variance, ...saved] = node.outputs
  node.attributes.delete('spatial')
  if (!node.outputs.slice(1).some(output => output !== null)) {
    node.outputs = [node.output(0)]
    return null
  }
  const read = saved.find(output => context.isRead(output))
  if (read) throw context.unsupported(node, `its saved statistics "${read.name}" are read`)
  const outputs = [
    node.output(0),
    mean ?? context.value(node, 'running_mean'),
    variance ?? context.value(node, 'running_var'),
  ]
  const attributes = { ...Object.fromEntries(node.attributes), training_mode: int(1) }
  return [context.replacement(node, node.opType, node.inputs, attributes, outputs)]
}

/** RoiAlign before opset 16 has no half-pixel shift. */
export const raiseRoiAlign: Raise = node => {
  node.attributes.set('coordinate_transformation_mode', text('output_half_pixel'))
  return null
}

/** Operators that were experimental and then removed. */
export const refuse: Raise = (node, context) => {
  throw context.unsupported(node, 'the operator was removed from the standard')
}
