/**
 * Gradients of gathering: scattering with addition, because an element may be taken more than once. Always by
 * ScatterElements, which is right on every engine: ScatterND of onnxruntime 1.30's CPU engine adds rows in parallel
 * without locks, so that repeated indices lose addends (half of them, in a run with two threads).
 */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import { normalizeAxis, sizeOf, stridesOf, type Shape } from '../../tensor/shape.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { constantTensor } from '../context.ts'
import { rule, type GradientRule, type RuleTable } from '../rule.ts'
import { range, zerosLike } from './common.ts'

/** Zeros of x's shape with `updates` added at `indices` along an axis; both have one shape. */
function scatterAdd(op: Builder, x: Value, indices: Value, updates: Value, axis: number): Value {
  return op.ScatterElements(zerosLike(op, x), indices, updates, axis, 'add')
}

/** y[outer, i, inner] = x[outer, indices[i], inner] */
const Gather: GradientRule = context => {
  const { op, node } = context
  const [x, indices] = [node.input(0), node.input(1)]
  const axis = normalizeAxis(node.int('axis', 0), x.rank, node.label)
  const count = sizeOf(indices.shape)
  const dy = op.Reshape(context.dy, x.shape.with(axis, count))
  const single = count === 1 ? constantTensor(indices)?.toNumbers()[0] : undefined
  if (single !== undefined) {
    // One known position: zeros before and after.
    const at = single < 0 ? single + x.shape[axis]! : single
    const pads = new Array<number>(2 * x.rank).fill(0)
    pads[axis] = at
    pads[axis + x.rank] = x.shape[axis]! - 1 - at
    return [op.Pad(dy, pads), null]
  }
  const line = op.Reshape(
    indices,
    x.shape.map((_, i) => (i === axis ? count : 1)),
  )
  return [scatterAdd(op, x, op.Expand(line, dy.shape), dy, axis), null]
}

const GatherElements: GradientRule = ({ op, node, dy }) => {
  const x = node.input(0)
  const axis = normalizeAxis(node.int('axis', 0), x.rank, node.label)
  return [scatterAdd(op, x, node.input(1), dy, axis), null]
}

/**
 * y[b, i] = x[b, indices[b, i]], where the last axis of indices addresses the first axes of x behind the batch axes: one flat
 * axis of positions.
 */
const GatherND: GradientRule = ({ op, node, dy }) => {
  const [x, indices] = [node.input(0), node.input(1)]
  const batch = node.int('batch_dims', 0)
  const depth = indices.shape.at(-1)!
  const inner = sizeOf(x.shape.slice(batch + depth))
  const count = sizeOf(indices.shape.slice(0, -1))
  const rows = op.Reshape(indices, [count, depth])
  const positions = flatPositions(
    op,
    rows,
    x.shape.slice(batch, batch + depth),
    sizeOf(x.shape.slice(0, batch)),
  )
  const flat = op.full([sizeOf(x.shape) / inner, inner], 0, x.dtype)
  const updates = op.Reshape(dy, [count, inner])
  const dx = op.ScatterElements(flat, op.Expand(positions, [count, inner]), updates, 0, 'add')
  return [op.Reshape(dx, x.shape), null]
}

/**
 * Rows of indices, possibly negative, as row-major positions in `dims`: a column. Of several batches each has as many rows, and
 * begins where the one before it ends.
 */
export function flatPositions(op: Builder, indices: Value, dims: Shape, batches = 1): Value {
  const zero = op.scalar(0, 'int64')
  const whole = op.Where(op.Less(indices, zero), op.Add(indices, op.int64s(dims)), indices)
  const within = op.ReduceSum(op.Mul(whole, op.int64s(stridesOf(dims))), [1])
  if (batches === 1) return within
  const rows = indices.shape[0]!
  const starts = range(rows).map(row => BigInt(Math.floor(row / (rows / batches)) * sizeOf(dims)))
  return op.Add(within, op.constant(Tensor.of('int64', [rows, 1], starts)))
}

/** The k values go back where they were found. */
const TopK: GradientRule = ({ op, node, grads }) => {
  const x = node.input(0)
  const axis = normalizeAxis(node.int('axis', -1), x.rank, node.label)
  return [
    grads[0] ? op.ScatterElements(zerosLike(op, x), node.output(1), grads[0], axis, 'none') : null,
    null,
  ]
}

/** y is values[1] where the index is that of the class, values[0] elsewhere. */
const OneHot: GradientRule = ({ op, node, dy }) => {
  const values = node.input(2)
  const inputs = [node.input(0), node.input(1), op.constant(Tensor.of(values.dtype, [2], [0, 1]))]
  const hot = op.one('OneHot', inputs, { shape: dy.shape, dtype: dy.dtype }, { axis: node.int('axis', -1) })
  const all = range(dy.rank)
  const on = op.Reshape(op.ReduceSum(op.Mul(dy, hot), all, false), [1])
  const off = op.Sub(op.Reshape(op.ReduceSum(dy, all, false), [1]), on)
  return [null, null, op.Concat([off, on], 0)]
}

export const indexingRules: RuleTable = {
  Gather: rule(Gather),
  GatherElements: rule(GatherElements),
  GatherND: rule(GatherND),
  TopK: rule(TopK),
  OneHot: rule(OneHot),
}
