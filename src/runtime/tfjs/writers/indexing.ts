/** Gathering and scattering. Where tfjs has no kernel, indices become row-major positions in the flat tensor. */

import { normalizeAxis, sizeOf, stridesOf, type Shape } from '../../../tensor/shape.ts'
import { UnsupportedError } from '../../../util/errors.ts'
import type { Kernels } from '../kernels.ts'
import { onnxLayout, withLast } from '../layout.ts'
import type { Slot } from '../tape.ts'
import { writer, type WriterContext, type WriterTable } from '../writer.ts'

/** Indices below zero count from the end. */
function wrapped(k: Kernels, indices: Slot, dims: Slot): Slot {
  const negative = k.cast(k.binary('Less', indices, k.scalar(0, 'int32')), 'int32')
  return k.add(indices, k.mul(negative, dims))
}

const Gather = writer(context => {
  const { k } = context
  const x = context.input(0)
  const axis = context.axis(0, x.rank)
  const indices = wrapped(k, context.slot(1), k.scalar(x.shape[axis]!, 'int32'))
  const flat = k.reshape(indices, [sizeOf(indices.shape)])
  const found = k.call('GatherV2', { x: k.onnx(x), indices: flat }, { axis, batchDims: 0 })
  return context.give(
    k.reshape(found, [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)]),
  )
})

/** For indices along one axis (GatherElements): the flat position of each of their elements in a tensor of shape `x`. */
function positionsAlong(k: Kernels, indices: Slot, x: Shape, axis: number): Slot {
  const strides = stridesOf(x)
  const whole = wrapped(k, indices, k.scalar(x[axis]!, 'int32'))
  const along = k.mul(whole, k.scalar(strides[axis]!, 'int32'))
  // The other coordinates are those of the index itself.
  const positions = indices.shape.reduce((sum, dim, other) => {
    if (other === axis || dim === 1) return sum
    const values = Array.from({ length: dim }, (_, i) => i * strides[other]!)
    const line = indices.shape.map((_, i) => (i === other ? dim : 1))
    return k.add(sum, k.constant(values, line, 'int32'))
  }, along)
  return k.reshape(positions, [sizeOf(indices.shape)])
}

const GatherElements = writer(context => {
  const { k } = context
  const x = context.input(0)
  const indices = context.slot(1)
  const positions = positionsAlong(k, indices, x.shape, context.axis(0, x.rank))
  const flat = k.reshape(k.onnx(x), [x.size])
  const found = k.call('GatherV2', { x: flat, indices: positions }, { axis: 0, batchDims: 0 })
  return context.give(k.reshape(found, indices.shape))
})

/** Rows [count, depth] of indices as positions in the first axes of a tensor. */
function positionsOfRows(k: Kernels, rows: Slot, dims: Shape): Slot {
  const whole = wrapped(k, rows, k.constant([...dims], [dims.length], 'int32'))
  return k.sum(k.mul(whole, k.constant(stridesOf(dims), [dims.length], 'int32')), [1], false)
}

const GatherND = writer(context => {
  const { k, node } = context
  const x = context.input(0)
  const batch = node.int('batch_dims', 0)
  const indices = context.slot(1)
  const depth = indices.shape.at(-1)!
  const count = sizeOf(indices.shape) / depth
  const inner = sizeOf(x.shape.slice(batch + depth))
  const flat = k.reshape(k.onnx(x), [x.size / inner, inner])
  const dims = x.shape.slice(batch, batch + depth)
  const within = positionsOfRows(k, k.reshape(indices, [count, depth]), dims)
  const found = k.call(
    'GatherV2',
    {
      x: flat,
      indices: batch === 0 ? within : k.add(within, batchStarts(k, x.shape.slice(0, batch), count, dims)),
    },
    { axis: 0, batchDims: 0 },
  )
  return context.give(k.reshape(found, [...indices.shape.slice(0, -1), ...x.shape.slice(batch + depth)]))
})

/** Where the batch of each of `count` rows begins: every batch has as many rows. */
function batchStarts(k: Kernels, batches: Shape, count: number, dims: Shape): Slot {
  const rows = count / sizeOf(batches)
  const starts = Array.from({ length: count }, (_, row) => Math.floor(row / rows) * sizeOf(dims))
  return k.constant(starts, [count], 'int32')
}

/**
 * `data` [rows, inner] with `updates` [count, inner] put or added at `positions` [count]. ScatterNd adds what meets at one
 * place, so putting takes a second scatter, of ones, that says which places were hit.
 */
function scatter(context: WriterContext, data: Slot, positions: Slot, updates: Slot): Slot {
  const { k, node } = context
  const indices = k.reshape(positions, [sizeOf(positions.shape), 1])
  const reduction = node.string('reduction', 'none')
  const scattered = k.call('ScatterNd', { indices, updates }, { shape: [...data.shape] })
  if (reduction === 'add') return k.add(data, scattered)
  if (reduction !== 'none') {
    throw new UnsupportedError(
      `${node.label}: the tfjs engine knows the reductions none and add, found ${reduction}`,
      {
        cure: 'use --engine cpu',
      },
    )
  }
  const ones = k.fill(updates.shape, 1, updates.dtype)
  const hits = k.call('ScatterNd', { indices, updates: ones }, { shape: [...data.shape] })
  return k.select(k.cast(hits, 'bool'), scattered, data)
}

const ScatterElements = writer(context => {
  const { k } = context
  const x = context.input(0)
  const indices = context.slot(1)
  const positions = positionsAlong(k, indices, x.shape, context.axis(0, x.rank))
  const data = k.reshape(k.onnx(x), [x.size])
  const updates = k.reshape(context.slot(2), [sizeOf(indices.shape)])
  return context.give(k.reshape(scatter(context, data, positions, updates), x.shape))
})

const ScatterND = writer(context => {
  const { k } = context
  const x = context.input(0)
  const indices = context.slot(1)
  const depth = indices.shape.at(-1)!
  const count = sizeOf(indices.shape) / depth
  const inner = sizeOf(x.shape.slice(depth))
  const positions = positionsOfRows(k, k.reshape(indices, [count, depth]), x.shape.slice(0, depth))
  const data = k.reshape(k.onnx(x), [x.size / inner, inner])
  const updates = k.reshape(context.slot(2), [count, inner])
  return context.give(k.reshape(scatter(context, data, positions, updates), x.shape))
})

/** The kernel wants the last axis, and gives the largest, sorted. */
const TopK = writer(context => {
  const { k, node } = context
  const x = context.input(0)
  const axis = context.axis(-1, x.rank)
  const count = context.needed(1)?.[0] ?? 0
  const largest = node.int('largest', 1) !== 0
  const layout = withLast(onnxLayout(x.rank), axis)
  const lines = k.in(x, layout)
  const [values, indices] = k.tape.call(
    'TopK',
    { x: largest ? lines : k.unary('Neg', lines) },
    { k: count, sorted: true },
  )
  return [
    context.give(largest ? values! : k.unary('Neg', values!), { layout }),
    context.give(indices!, { layout, dtype: 'int64' }),
  ]
}, 1)

/** indices = position along a new axis, compared: on value where equal, off value elsewhere. */
const OneHot = writer(context => {
  const { k, node } = context
  const indices = context.input(0)
  const depth = context.needed(1)?.[0] ?? 0
  const rank = indices.rank + 1
  const axis = normalizeAxis(node.int('axis', -1), rank, node.label)
  const shape = [...indices.shape.slice(0, axis), 1, ...indices.shape.slice(axis)]
  const places = k.cast(k.reshape(k.onnx(indices), shape), 'int32')
  const known = k.constant(
    Array.from({ length: depth }, (_, i) => i),
    shape.map((_, i) => (i === axis ? depth : 1)),
    'int32',
  )
  const hot = k.binary('Equal', wrapped(k, places, k.scalar(depth, 'int32')), known)
  const values = context.slot(2)
  const [off, on] = [k.slice(values, [0], [1]), k.slice(values, [1], [1])]
  return context.give(k.select(hot, on, off), { dtype: context.input(2).dtype })
}, 1)

export const indexingWriters: WriterTable = {
  Gather,
  GatherElements,
  GatherND,
  ScatterElements,
  ScatterND,
  TopK,
  OneHot,
}
