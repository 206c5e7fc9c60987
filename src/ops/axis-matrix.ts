/**
 * Constant linear maps along one axis of a tensor: y[.., o, ..] = Σᵢ m[o, i] · x[.., i, ..].
 * Average pooling and interpolation are products of such maps, one for each spatial axis; so are their gradients,
 * with the transposed matrices.
 */

import { Tensor } from '../tensor/tensor.ts'
import { sizeOf } from '../tensor/shape.ts'
import type { Builder } from '../ir/builder.ts'
import type { Value } from '../ir/value.ts'
import { spanOf, type WindowAxis } from './window.ts'

/** A small dense matrix, row-major. */
export interface AxisMatrix {
  readonly rows: number
  readonly columns: number
  readonly data: Float64Array
}

export function axisMatrix(rows: number, columns: number): AxisMatrix {
  return { rows, columns, data: new Float64Array(rows * columns) }
}

export function transposed(matrix: AxisMatrix): AxisMatrix {
  const { rows, columns, data } = matrix
  const result = axisMatrix(columns, rows)
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++) result.data[c * rows + r] = data[r * columns + c]!
  return result
}

export function isIdentity(matrix: AxisMatrix): boolean {
  const { rows, columns, data } = matrix
  return rows === columns && data.every((value, i) => value === (i % (columns + 1) === 0 ? 1 : 0))
}

/** Writes the map onto the tape: nothing for the identity, a sum of neighbours where that is it, else one MatMul. */
export function applyAlongAxis(op: Builder, x: Value, axis: number, matrix: AxisMatrix): Value {
  if (isIdentity(matrix)) return x
  const { rows, columns } = matrix
  const shape = x.shape.with(axis, rows)
  const before = x.shape.slice(0, axis)
  const after = x.shape.slice(axis + 1)
  const factor = blockSum(matrix)
  if (factor !== null) {
    return op.ReduceSum(op.Reshape(x, [...before, rows, factor, ...after]), [axis + 1], false)
  }
  // The product reads best along the last axis; elsewhere the axes behind it are flattened into one.
  if (after.length === 0) {
    const flat = op.Reshape(x, [sizeOf(before), columns])
    return op.Reshape(op.MatMul(flat, constant(op, x, transposed(matrix))), shape)
  }
  const flat = op.Reshape(x, [sizeOf(before), columns, sizeOf(after)])
  return op.Reshape(op.MatMul(constant(op, x, matrix), flat), shape)
}

/** One map for each axis of x; the smallest result first, so that later products are smaller. */
export function applyAlongAxes(op: Builder, x: Value, matrices: readonly AxisMatrix[]): Value {
  const order = matrices.map((matrix, axis) => ({ matrix, axis, ratio: matrix.rows / matrix.columns }))
  order.sort((a, b) => a.ratio - b.ratio)
  return order.reduce((y, { matrix, axis }) => applyAlongAxis(op, y, axis, matrix), x)
}

/** The number of neighbours when every row sums its own run of that many columns (nearest upsampling, transposed). */
function blockSum(matrix: AxisMatrix): number | null {
  const { rows, columns, data } = matrix
  const factor = columns / rows
  if (!Number.isInteger(factor)) return null
  const matches = data.every(
    (value, i) => value === (Math.floor((i % columns) / factor) === Math.floor(i / columns) ? 1 : 0),
  )
  return matches ? factor : null
}

function constant(op: Builder, like: Value, matrix: AxisMatrix): Value {
  return op.constant(Tensor.of(like.dtype, [matrix.rows, matrix.columns], Array.from(matrix.data)))
}

/**
 * Average pooling along one axis: row `o` holds 1/count at the inputs of window `o`. The count of a window in several
 * axes is the product of these counts. Padding counts when `countIncludePad`, up to the stated padding and not into
 * what ceil_mode adds behind it (PyTorch: avg_pool2d; ONNX: AveragePool 19).
 */
export function averageMatrix(axis: WindowAxis, countIncludePad: boolean): AxisMatrix {
  const matrix = axisMatrix(axis.output, axis.input)
  for (let o = 0; o < axis.output; o++) {
    const start = o * axis.stride - axis.begin
    const stop = Math.min(start + spanOf(axis), axis.input + axis.end)
    const taps: number[] = []
    for (let i = start; i < stop; i += axis.dilation) taps.push(i)
    const inside = taps.filter(i => i >= 0 && i < axis.input)
    const count = countIncludePad ? taps.length : inside.length
    for (const i of inside) matrix.data[o * axis.input + i] = 1 / count
  }
  return matrix
}

/** Sums over windows along one axis: row `o` holds 1 at the inputs of window `o`. */
export function sumMatrix(axis: WindowAxis): AxisMatrix {
  const matrix = axisMatrix(axis.output, axis.input)
  for (let o = 0; o < axis.output; o++) {
    for (let k = 0; k < axis.kernel; k++) {
      const i = o * axis.stride + k * axis.dilation - axis.begin
      if (i >= 0 && i < axis.input) matrix.data[o * axis.input + i] = 1
    }
  }
  return matrix
}
