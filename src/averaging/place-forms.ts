/** How a tensor lies in a place: as it is, or transposed as PyTorch's exporter writes the matrices of Linear. */

import { DTYPES } from '../tensor/dtype.ts'
import { formatShape, sameShape, type Shape } from '../tensor/shape.ts'
import type { CheckpointTensor } from './checkpoint.ts'

type Type = Pick<CheckpointTensor, 'dtype' | 'dims'>

/** Null where a tensor does not fit. */
export function formOf(tensor: Type, place: Type): 'same' | 'transposed' | null {
  if (tensor.dtype === place.dtype && sameShape(tensor.dims, place.dims)) return 'same'
  return transposeFits(tensor, place) ? 'transposed' : null
}

/** Whether a tensor is a matrix, of whole bytes, that fits a place when it is transposed. */
export function transposeFits({ dtype, dims }: Type, place: Type): boolean {
  const { bits } = DTYPES[dtype]
  const whole = bits > 0 && bits % 8 === 0
  return whole && dtype === place.dtype && dims.length === 2 && sameShape([dims[1]!, dims[0]!], place.dims)
}

/** The dims by which tensors are alike: those of a matrix and of its transpose are the same. */
export function likeDims(dims: Shape): Shape {
  return dims.length === 2 ? [...dims].sort((a, b) => a - b) : dims
}

/** A key that is equal for tensors that fit one place, as they are or transposed. */
export function likeness({ dtype, dims }: Type): string {
  return `${dtype} ${likeDims(dims).join()}`
}

export function typeText({ dtype, dims }: Type): string {
  return `${dtype}${formatShape(dims)}`
}
