/** Resize: one constant matrix for each resized axis, as its gradient has it; so all modes are ONNX Runtime's. */

import { isIdentity, type AxisMatrix } from '../../../ops/axis-matrix.ts'
import { resizeMatrices } from '../../../ops/resize.ts'
import { normalizeAxis } from '../../../tensor/shape.ts'
import { around, type Kernels } from '../kernels.ts'
import { onnxLayout } from '../layout.ts'
import type { Slot } from '../tape.ts'
import { writer, type WriterContext, type WriterTable } from '../writer.ts'

const Resize = writer(
  context => {
    const { k, node } = context
    const x = context.input(0)
    const [roi, scales, sizes] = [1, 2, 3].map(index => given(context, index)) as [
      readonly number[] | null,
      readonly number[] | null,
      readonly number[] | null,
    ]
    node.input(0).type = { kind: 'tensor', dtype: x.dtype, shape: x.shape }
    node.output(0).type = { kind: 'tensor', dtype: x.dtype, shape: outputShape(context, scales, sizes) }
    const matrices = resizeMatrices(node, { roi, scales, sizes })
    // The smallest result first, so that later products are smaller.
    const order = matrices.map((matrix, axis) => ({ matrix, axis, ratio: matrix.rows / matrix.columns }))
    order.sort((a, b) => a.ratio - b.ratio)
    const y = order.reduce(
      (slot, { matrix, axis }) => alongAxis(k, slot, x.home.indexOf(axis), matrix),
      x.slot,
    )
    return context.give(y, { layout: x.home })
  },
  1,
  2,
  3,
)

/** The elements of an optional input; null where it is absent, or empty as exporters leave it. */
function given(context: WriterContext, index: number): readonly number[] | null {
  return context.inputs[index]?.size === 0 ? null : context.needed(index)
}

/** ⌊dim · scale⌋, or the sizes; with keep_aspect_ratio_policy the sizes are bounds, and all axes share one ratio. */
function outputShape(
  { node }: WriterContext,
  scales: readonly number[] | null,
  sizes: readonly number[] | null,
): number[] {
  const { shape } = node.input(0)
  const axes = (node.ints('axes', undefined) ?? onnxLayout(shape.length)).map(axis =>
    normalizeAxis(axis, shape.length, node.label),
  )
  const ratios = axes.map((axis, i) => (sizes ? sizes[i]! / shape[axis]! : (scales?.[i] ?? 1)))
  const policy = sizes ? node.string('keep_aspect_ratio_policy', 'stretch') : 'stretch'
  const resized = (axis: number, i: number) => {
    if (policy === 'not_larger') return Math.round(Math.min(...ratios) * shape[axis]!)
    if (policy === 'not_smaller') return Math.round(Math.max(...ratios) * shape[axis]!)
    return sizes ? sizes[i]! : Math.floor(Math.fround(ratios[i]!) * shape[axis]!)
  }
  const output = [...shape]
  axes.forEach((axis, i) => (output[axis] = resized(axis, i)))
  return output
}

/** m [rows, columns] applied along one axis of memory. */
function alongAxis(k: Kernels, x: Slot, axis: number, matrix: AxisMatrix): Slot {
  if (isIdentity(matrix)) return x
  const { rows, columns, data } = matrix
  const [outer, , inner] = around(x.shape, axis)
  const shape = x.shape.with(axis, rows)
  const m = k.constant(Array.from(data), [1, rows, columns], 'float32')
  if (inner === 1) return k.reshape(k.matmul(k.reshape(x, [1, outer, columns]), m, false, true), shape)
  const stacked = k.reshape(x, [outer, columns, inner])
  return k.reshape(k.matmul(outer === 1 ? m : k.broadcast(m, [outer, rows, columns]), stacked), shape)
}

export const resizeWriters: WriterTable = { Resize }
