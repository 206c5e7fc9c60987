/** Shapes and broadcasting (ONNX: Broadcasting in ONNX, multidirectional). */

import { InputError } from '../util/errors.ts'

export type Shape = readonly number[]

/** Number of elements of a shape. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((product, dim) => product * dim, 1)
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i])
}

/** `[2,3]`. */
export function formatShape(shape: readonly (number | string | null)[]): string {
  return `[${shape.map(dim => dim ?? '?').join(',')}]`
}

/** The common shape of operands under multidirectional broadcasting. */
export function broadcastShapes(shapes: readonly Shape[], where: string): number[] {
  const rank = Math.max(0, ...shapes.map(shape => shape.length))
  return Array.from({ length: rank }, (_, axis) => {
    let common = 1
    for (const shape of shapes) {
      const dim = shape[axis - rank + shape.length] ?? 1
      if (dim === 1 || dim === common) continue
      if (common !== 1) {
        throw new InputError(`${where}: shapes ${shapes.map(formatShape).join(' and ')} do not broadcast`)
      }
      common = dim
    }
    return common
  })
}

/** Row-major strides in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length)
  let stride = 1
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = stride
    stride *= shape[i]!
  }
  return strides
}

/** Maps a possibly negative axis to [0, rank). */
export function normalizeAxis(axis: number, rank: number, where: string): number {
  const normalized = axis < 0 ? axis + rank : axis
  if (normalized < 0 || normalized >= Math.max(rank, 1)) {
    throw new InputError(`${where}: axis ${axis} is outside a tensor of rank ${rank}`)
  }
  return normalized
}
