/** Operators that put the same elements in another order or shape, or repeat them. */

import { broadcastShapes, normalizeAxis, sizeOf, type Shape } from '../../../tensor/shape.ts'
import type { Held } from '../held.ts'
import { around } from '../kernels.ts'
import { isOnnx, onnxLayout, transposedLayout } from '../layout.ts'
import { writer, type WriterContext, type WriterTable } from '../writer.ts'

/** The elements in ONNX's order under another shape. */
function reshaped(context: WriterContext, shape: Shape): Held {
  return context.give(context.k.reshape(context.slot(0), shape))
}

/** 0 copies a dimension of the input (unless allowzero is set), -1 is what remains. */
const Reshape = writer(context => {
  const { node } = context
  const x = context.input(0)
  const wanted = context.needed(1) ?? []
  const copies = node.int('allowzero', 0) === 0
  const shape = wanted.map((dim, i) => (dim === 0 && copies ? x.shape[i]! : dim))
  const rest = x.size / sizeOf(shape.filter(dim => dim !== -1))
  return reshaped(
    context,
    shape.map(dim => (dim === -1 ? rest : dim)),
  )
}, 1)

const Flatten = writer(context => {
  const { shape } = context.input(0)
  const given = context.node.int('axis', 1)
  const axis = given < 0 ? given + shape.length : given
  return reshaped(context, [sizeOf(shape.slice(0, axis)), sizeOf(shape.slice(axis))])
})

const Squeeze = writer(context => {
  const { shape } = context.input(0)
  const axes = context.needed(1)?.map(axis => normalizeAxis(axis, shape.length, context.node.label))
  return reshaped(
    context,
    shape.filter((dim, i) => (axes ? !axes.includes(i) : dim !== 1)),
  )
}, 1)

const Unsqueeze = writer(context => {
  const { shape } = context.input(0)
  const given = context.needed(1) ?? []
  const rank = shape.length + given.length
  const axes = given.map(axis => normalizeAxis(axis, rank, context.node.label))
  const rest = [...shape]
  return reshaped(
    context,
    Array.from({ length: rank }, (_, i) => (axes.includes(i) ? 1 : rest.shift()!)),
  )
}, 1)

/** No call: the axes are known to lie in another order, and are moved only where a reader wants them in ONNX's. */
const Transpose = writer(context => {
  const x = context.input(0)
  const perm = context.node.ints('perm', undefined) ?? onnxLayout(x.rank).toReversed()
  if (isOnnx(perm)) return x.alias()
  return context.give(x.slot, { layout: transposedLayout(x.home, perm) })
})

const Expand = writer(context => {
  const { k, node } = context
  const shape = broadcastShapes([context.input(0).shape, context.needed(1) ?? []], node.label)
  return context.give(k.broadcast(context.slot(0), shape))
}, 1)

const Tile = writer(context => {
  const reps = context.needed(1) ?? []
  const x = context.slot(0)
  return context.give(reps.every(rep => rep === 1) ? x : context.k.unary('Tile', x, { reps: [...reps] }))
}, 1)

const Concat = writer(context => {
  const { k } = context
  const parts = context.inputs.map((_, i) => context.input(i)).filter(part => part.size > 0)
  const [first] = parts
  if (!first) return context.input(0).alias()
  const axis = context.axis(0, first.rank)
  const { layout } = k.align([parts.reduce((a, b) => (b.size > a.size ? b : a))])
  const slots = parts.map(part => k.in(part, layout))
  return context.give(k.concat(slots, layout.indexOf(axis)), { layout })
})

const Split = writer(context => {
  const { k, node } = context
  const x = context.input(0)
  const axis = context.axis(0, x.rank)
  const dim = x.shape[axis]!
  const count = node.outputs.length
  const even = Math.ceil(dim / count)
  const sizes = context.needed(1) ?? Array.from({ length: count }, (_, i) => Math.min(even, dim - even * i))
  const parts = k.split(x.slot, sizes, x.home.indexOf(axis))
  return parts.map(part => context.give(part, { layout: x.home }))
}, 1)

/** [N, C, H, W] -> [N, C/b², H·b, W·b]. */
const DepthToSpace = writer(context => {
  const { k, node } = context
  const [n, c, h, w] = context.input(0).shape as [number, number, number, number]
  const b = node.int('blocksize', 1)
  const depth = c / (b * b)
  const columns = node.string('mode', 'DCR') === 'CRD'
  const apart = columns ? [n, depth, b, b, h, w] : [n, b, b, depth, h, w]
  const moved = k.transpose(
    k.reshape(context.slot(0), apart),
    columns ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2],
  )
  return context.give(k.reshape(moved, [n, depth, h * b, w * b]))
})

/** [N, C, H, W] -> [N, b·b·C, H/b, W/b]. */
const SpaceToDepth = writer(context => {
  const { k, node } = context
  const [n, c, h, w] = context.input(0).shape as [number, number, number, number]
  const b = node.int('blocksize', 1)
  const apart = k.reshape(context.slot(0), [n, c, h / b, b, w / b, b])
  const moved = k.transpose(apart, [0, 3, 5, 1, 2, 4])
  return context.give(k.reshape(moved, [n, b * b * c, h / b, w / b]))
})

const CumSum = writer(context => {
  const { k, node } = context
  const x = context.input(0)
  const axis = normalizeAxis(context.needed(1)?.[0] ?? 0, x.rank, node.label)
  // The kernel wants the last axis.
  const [outer, dim, inner] = around(x.shape, axis)
  const lines = k.transpose(k.reshape(context.slot(0), [outer, dim, inner]), [0, 2, 1])
  const attributes = { exclusive: node.int('exclusive', 0) !== 0, reverse: node.int('reverse', 0) !== 0 }
  const sums = k.unary('Cumsum', k.reshape(lines, [outer * inner, dim]), { axis: 1, ...attributes })
  return context.give(k.reshape(k.transpose(k.reshape(sums, [outer, inner, dim]), [0, 2, 1]), x.shape))
}, 1)

const Trilu = writer(context => {
  const { k, node } = context
  const x = context.input(0)
  const upper = node.int('upper', 1) !== 0
  const diagonal = context.needed(1)?.[0] ?? 0
  const [rows, columns] = [x.shape.at(-2)!, x.shape.at(-1)!]
  const mask = Array.from({ length: rows * columns }, (_, i) => {
    const distance = (i % columns) - Math.floor(i / columns)
    return Number(upper ? distance >= diagonal : distance <= diagonal)
  })
  return context.give(
    k.select(k.constant(mask, [rows, columns], 'bool'), context.slot(0), k.scalar(0, x.slot.dtype)),
  )
}, 1)

export const movementWriters: WriterTable = {
  Reshape,
  Flatten,
  Squeeze,
  Unsqueeze,
  Transpose,
  Expand,
  Tile,
  Concat,
  Split,
  DepthToSpace,
  SpaceToDepth,
  CumSum,
  Trilu,
}
