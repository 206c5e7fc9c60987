/** What members add to the sums of a tensor, and where its bytes are. */

import { formatShape, stridesOf, type Shape } from '../tensor/shape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { InputError } from '../util/errors.ts'
import { widthOf } from './elements.ts'
import type { Place } from './place.ts'
import { lowerBound, type RangeSummand } from './range-sum.ts'
import type { AveragedDType } from './rounding.ts'
import type { Unsummable } from './specials.ts'
import type { Tail } from './sum-block.ts'
import { readBytes } from './tensor-bytes.ts'

/** What one member adds to the sums of a tensor. */
export type Summand =
  /** weight · element. */
  | {
      readonly kind: 'elements'
      /** The file, for messages. */
      readonly member: string
      readonly tensor: Tensor
      readonly weight: number
    }
  /** Sums of other members (partial.ts): pairs of float64, and a tail in the order of its indices. */
  | { readonly kind: 'sums'; readonly member: string; readonly pairs: Tensor; readonly tail: Tail }

/** A tensor to be averaged. */
export interface SummedTensor {
  readonly name: string
  readonly dtype: AveragedDType
  readonly dims: Shape
  readonly summands: readonly Summand[]
}

const PAIR_BYTES = 16

function tensorOf(summand: Summand): Tensor {
  return summand.kind === 'sums' ? summand.pairs : summand.tensor
}

/** Whether all bytes are in open files, which threads can read themselves. */
export function isInFiles({ summands }: SummedTensor): boolean {
  return summands.every(summand => {
    const { data } = tensorOf(summand)
    return 'source' in data && data.source.fd !== undefined
  })
}

/** Elements from `start` on where they lie in a file, or read. */
export async function placeOf(
  summand: Summand,
  dtype: AveragedDType,
  start: number,
  count: number,
): Promise<Place> {
  const width = summand.kind === 'sums' ? PAIR_BYTES : widthOf(dtype)
  const tensor = tensorOf(summand)
  const { data } = tensor
  if ('source' in data && data.source.fd !== undefined) {
    return { fd: data.source.fd, name: data.source.name, position: data.offset + start * width }
  }
  const bytes = await readBytes(tensor, start * width, count * width)
  // A view would be sent with all that it is a view of.
  return { bytes: bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice() }
}

/** What a summand adds to `count` elements from `start` on. */
export async function rangeSummand(
  summand: Summand,
  dtype: AveragedDType,
  start: number,
  count: number,
): Promise<RangeSummand> {
  const place = await placeOf(summand, dtype, start, count)
  if (summand.kind === 'elements') return { kind: 'elements', weight: summand.weight, place }
  const { indices, values } = summand.tail
  const first = lowerBound(indices, start)
  const end = lowerBound(indices, start + count)
  const tail = {
    indices: indices.slice(first, end).map(index => index - start),
    values: values.slice(first, end),
  }
  return { kind: 'sums', place, tail }
}

/** Names the member, the tensor and the element that has no place in a mean. */
export function refusal(
  { name, dtype, dims, summands }: SummedTensor,
  start: number,
  { summand, index: at, value }: Unsummable,
): InputError {
  const index = start + at
  const where = `tensor "${name}" ${dtype}${formatShape(dims)}, element ${index}`
  if (summand < 0) {
    return new InputError(`average: ${where}: the result is too large for ${dtype}`, {
      cure: 'move less far from the members',
    })
  }
  const place = formatShape(stridesOf(dims).map((stride, axis) => Math.floor(index / stride) % dims[axis]!))
  return new InputError(
    `average: ${summands[summand]!.member}: ${where} at ${place}: expected a finite number, found ${value}`,
    {
      cure: 'leave this member out, as its training had diverged when it was saved; or take NaN and infinities over with --allow-nonfinite',
    },
  )
}
