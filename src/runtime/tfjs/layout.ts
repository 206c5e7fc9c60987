/**
 * Layouts: in which order the axes of a value lie in memory. tfjs wants channels last and filters as [k..., C, M]; ONNX
 * has channels first and [M, C, k...]. A layout lists the value's (ONNX) axes in the order of memory, so a Transpose node
 * only changes the layout, and element-wise operators work in any.
 */

import { sameShape, type Shape } from '../../tensor/shape.ts'

export type Layout = readonly number[]

/** ONNX's own order. */
export function onnxLayout(rank: number): Layout {
  return Array.from({ length: rank }, (_, axis) => axis)
}

/** [N, C, i...] as [N, i..., C]. */
export function channelsLast(rank: number): Layout {
  return rank < 3 ? onnxLayout(rank) : [0, ...onnxLayout(rank).slice(2), 1]
}

/** [M, C, k...] as [k..., C, M]. */
export function filterLayout(rank: number): Layout {
  return [...onnxLayout(rank).slice(2), 1, 0]
}

export function isOnnx(layout: Layout): boolean {
  return layout.every((axis, i) => axis === i)
}

/** The shape in memory of a value. */
export function inMemory(shape: Shape, layout: Layout): number[] {
  return layout.map(axis => shape[axis]!)
}

/** The value's shape, from that in memory. */
export function fromMemory(memory: Shape, layout: Layout): number[] {
  const shape = new Array<number>(layout.length)
  layout.forEach((axis, i) => (shape[axis] = memory[i]!))
  return shape
}

/** Whether two layouts put the elements of a shape in the same order: axes of length one lie anywhere. */
export function sameOrder(shape: Shape, a: Layout, b: Layout): boolean {
  const long = (layout: Layout) => layout.filter(axis => shape[axis] !== 1)
  return sameShape(long(a), long(b))
}

/** The layout of Transpose(x, perm), whose axis i is axis perm[i] of x, when x lies in `layout`. */
export function transposedLayout(layout: Layout, perm: readonly number[]): Layout {
  return layout.map(axis => perm.indexOf(axis))
}

/** A layout whose last axis is `axis`, the others in the order they have. */
export function withLast(layout: Layout, axis: number): Layout {
  return [...layout.filter(other => other !== axis), axis]
}
