/** Gradients of Slice and Pad: cutting and surrounding with a border, one the transpose of the other. */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import { normalizeAxis } from '../../tensor/shape.ts'
import { UnsupportedError } from '../../util/errors.ts'
import { rule, type GradientRule, type RuleContext, type RuleTable } from '../rule.ts'
import { range } from './common.ts'

/** `start, start + step, ...`, `count` positions of one axis. */
interface Window {
  readonly axis: number
  readonly start: number
  readonly step: number
  readonly count: number
}

/** The elements that a Slice node takes, by the rules of the operator: negative indices, clamping, negative steps. */
function windowsOf(context: RuleContext): Window[] {
  const { node } = context
  const { shape } = node.input(0)
  const [starts, ends] = [context.constant(1), context.constant(2)]
  const axes = node.inputs[3] ? context.constant(3) : range(starts.length)
  const steps = node.inputs[4] ? context.constant(4) : starts.map(() => 1)
  return axes.map((given, i) => {
    const axis = normalizeAxis(given, shape.length, node.label)
    const [dim, step] = [shape[axis]!, steps[i]!]
    const clamp = (index: number, low: number, high: number) =>
      Math.min(Math.max(index < 0 ? index + dim : index, low), high)
    const [low, high] = step > 0 ? [0, dim] : [-1, dim - 1]
    const start = clamp(starts[i]!, Math.max(low, 0), high)
    const count = Math.max(0, Math.ceil((clamp(ends[i]!, low, high) - start) / step))
    return { axis, start, step, count }
  })
}

/** Puts the elements back where they came from, between zeros. */
const Slice: GradientRule = context => {
  const { op, node, dy } = context
  const { shape } = node.input(0)
  const none = node.inputs.slice(1).map(() => null)
  const windows = windowsOf(context)
  if (windows.some(({ count }) => count === 0)) return [op.full(shape, 0, dy.dtype), ...none]
  let dx = dy
  const pads = new Array<number>(2 * shape.length).fill(0)
  for (const { axis, start, step, count } of windows) {
    if (step < 0) dx = reversed(op, dx, axis)
    const stride = Math.abs(step)
    const first = step > 0 ? start : start + step * (count - 1)
    if (stride > 1) dx = spread(op, dx, axis, stride)
    pads[axis] = first
    pads[axis + shape.length] = shape[axis]! - first - dx.shape[axis]!
  }
  return [op.Pad(dx, pads), ...none]
}

/** x's elements with `stride - 1` zeros between neighbours. */
function spread(op: Builder, x: Value, axis: number, stride: number): Value {
  const { shape } = x
  const count = shape[axis]!
  const apart = op.Reshape(x, [...shape.slice(0, axis + 1), 1, ...shape.slice(axis + 1)])
  const pads = new Array<number>(2 * apart.rank).fill(0)
  pads[apart.rank + axis + 1] = stride - 1
  const joined = op.Reshape(op.Pad(apart, pads), shape.with(axis, count * stride))
  return op.Slice(joined, [0], [(count - 1) * stride + 1], [axis])
}

/** x in the opposite order along an axis. */
function reversed(op: Builder, x: Value, axis: number): Value {
  const dim = x.shape[axis]!
  return dim === 1 ? x : op.Slice(x, [dim - 1], [-dim - 1], [axis], [-1])
}

/** Elements `start .. start+count-1` of an axis. */
function cut(op: Builder, x: Value, axis: number, start: number, count: number): Value {
  return count === x.shape[axis] ? x : op.Slice(x, [start], [start + count], [axis])
}

/** x at `start` of an axis of length `dim`, with zeros around. */
function place(op: Builder, x: Value, axis: number, start: number, dim: number): Value {
  const pads = new Array<number>(2 * x.rank).fill(0)
  pads[axis] = start
  pads[axis + x.rank] = dim - start - x.shape[axis]!
  return op.Pad(x, pads)
}

interface Border {
  readonly axis: number
  readonly begin: number
  readonly end: number
  /** Length of the axis before padding. */
  readonly dim: number
}

function bordersOf(context: RuleContext): Border[] {
  const { node } = context
  const { shape } = node.input(0)
  const pads = context.constant(1)
  const axes = node.inputs[3] ? context.constant(3) : range(shape.length)
  return axes.map((given, i) => {
    const axis = normalizeAxis(given, shape.length, node.label)
    return { axis, begin: pads[i]!, end: pads[i + axes.length]!, dim: shape[axis]! }
  })
}

const Pad: GradientRule = context => {
  const { op, node, dy } = context
  const mode = node.string('mode', 'constant')
  const borders = bordersOf(context).filter(({ begin, end }) => begin !== 0 || end !== 0)
  const rest = node.inputs.slice(1).map(() => null)
  if (mode === 'constant') {
    const dx = borders.reduce((gradient, border) => unpad(op, gradient, border), dy)
    const value = node.inputs[2]
    if (!value || !context.needs(2)) return [dx, ...rest]
    // Whatever does not come from x comes from the constant; a border that was cropped came from neither.
    const inside = op.ReduceSum(dx, range(dx.rank), false)
    const total = op.ReduceSum(dy, range(dy.rank), false)
    const dvalue = op.Reshape(op.Sub(total, inside), value.shape)
    return [context.needs(0) ? dx : null, null, dvalue, ...rest.slice(2)]
  }
  const fold = FOLDS[mode]
  if (!fold) {
    throw new UnsupportedError(
      `gradient: ${node.label} has mode ${mode}, expected constant, ${Object.keys(FOLDS).join(', ')}`,
    )
  }
  if (borders.some(({ begin, end }) => begin < 0 || end < 0)) {
    throw new UnsupportedError(`gradient: ${node.label} in mode ${mode} has negative pads, expected none`)
  }
  return [borders.reduce((gradient, border) => fold(op, gradient, border), dy), ...rest]
}

/** Constant mode: a border is cut off; a negative border was cut off x, where the gradient is zero. */
function unpad(op: Builder, dy: Value, { axis, begin, end, dim }: Border): Value {
  const first = Math.max(begin, 0)
  const kept = dim + Math.min(begin, 0) + Math.min(end, 0)
  return place(op, cut(op, dy, axis, first, kept), axis, Math.max(-begin, 0), dim)
}

/** How the gradient of a border returns to the elements that were copied there, for one axis. */
type Fold = (op: Builder, dy: Value, border: Border) => Value

/** `copies(part, side)` turns the gradient of a border into one of x's length along the axis. */
function folding(copies: (op: Builder, part: Value, side: 'begin' | 'end', border: Border) => Value): Fold {
  return (op, dy, border) => {
    const { axis, begin, end, dim } = border
    let dx = cut(op, dy, axis, begin, dim)
    if (begin > 0) dx = op.Add(dx, copies(op, cut(op, dy, axis, 0, begin), 'begin', border))
    if (end > 0) dx = op.Add(dx, copies(op, cut(op, dy, axis, begin + dim, end), 'end', border))
    return dx
  }
}

const FOLDS: Readonly<Record<string, Fold>> = {
  // The border mirrors x without repeating its edge: x[begin] ... x[1], and x[dim-2] ... x[dim-1-end].
  reflect: folding((op, part, side, { axis, dim }) => {
    const start = side === 'begin' ? 1 : dim - 1 - part.shape[axis]!
    return place(op, reversed(op, part, axis), axis, start, dim)
  }),
  edge: folding((op, part, side, { axis, dim }) =>
    place(op, op.ReduceSum(part, [axis]), axis, side === 'begin' ? 0 : dim - 1, dim),
  ),
  // The border continues x from its other end: x[dim-begin] ... x[dim-1], and x[0] ... x[end-1].
  wrap: folding((op, part, side, { axis, dim }) =>
    place(op, part, axis, side === 'begin' ? dim - part.shape[axis]! : 0, dim),
  ),
}

export const windowRules: RuleTable = {
  Slice: rule(Slice),
  Pad: rule(Pad),
}
