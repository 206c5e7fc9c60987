/** Tensors of the page: between the client's form and the toolkit's, what is in them, how far two are apart. */

import type { ClientTensor } from '../client/tensor.ts'
import { bytesOfTensor } from '../client/tensor.ts'
import { numbersOf } from '../protocol/classification.ts'
import { DATATYPES, datatypeOf, type Datatype } from '../protocol/datatypes.ts'
import { Tensor, type TypedArray } from '../../tensor/tensor.ts'

/** Named tensors of a request or an answer. */
export type Tensors = ReadonlyMap<string, Tensor>

export function toClient(tensor: Tensor): ClientTensor {
  const { dtype, dims } = tensor
  const datatype = datatypeOf(dtype)
  if (datatype === null)
    throw new Error(`internal: a ${dtype} tensor, which the protocol has no datatype for`)
  const data = dtype === 'string' ? stringsOf(tensor) : tensor.view()
  return { datatype, shape: dims, data } as ClientTensor
}

export function fromClient(tensor: ClientTensor): Tensor {
  const { datatype, shape, data } = tensor
  if (datatype === 'BYTES') {
    const encoder = new TextEncoder()
    return new Tensor(
      'string',
      shape,
      data.map(text => encoder.encode(text)),
    )
  }
  return new Tensor(DATATYPES[datatype], shape, bytesOfTensor(tensor))
}

export function stringsOf({ data }: Tensor): string[] {
  const decoder = new TextDecoder()
  return (data as readonly Uint8Array[]).map(bytes => decoder.decode(bytes))
}

export interface Summary {
  readonly min: number
  readonly max: number
  readonly mean: number
  /** Elements that are no finite number; the rest does without them. */
  readonly notFinite: number
}

/** null for an empty tensor, and for one without a finite number. */
export function summarize(values: Float64Array): Summary | null {
  const finite = values.filter(Number.isFinite)
  if (finite.length === 0) return null
  let [min, max, sum] = [Infinity, -Infinity, 0]
  for (const value of finite) {
    if (value < min) min = value
    if (value > max) max = value
    sum += value
  }
  return { min, max, mean: sum / finite.length, notFinite: values.length - finite.length }
}

export interface Difference {
  /** The largest one of two elements. */
  readonly absolute: number
  /** It, relative to the largest magnitude of the first tensor. */
  readonly relative: number
}

/** Infinite where the tensors cannot be compared: of other dims, other strings, NaN or infinity on one side only. */
export function differenceOf(first: Tensor, second: Tensor): Difference {
  const sameDims = first.dims.join() === second.dims.join()
  if (!sameDims || (first.dtype === 'string') !== (second.dtype === 'string')) return APART
  if (first.dtype === 'string') {
    const others = stringsOf(second)
    return stringsOf(first).every((text, i) => text === others[i]) ? EQUAL : APART
  }
  const [a, b] = [numbersOf(first), numbersOf(second)]
  const exact = wholeNumbersOf(first, second)
  let [absolute, largest] = [0, 0]
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i]!, b[i]!]
    if (Number.isFinite(x)) largest = Math.max(largest, Math.abs(x))
    // Of 64-bit integers, doubles that are equal say nothing.
    if (exact !== null) absolute = Math.max(absolute, Math.abs(Number(exact.a[i]! - exact.b[i]!)))
    else if (!Object.is(x, y) && x !== y) absolute = Math.max(absolute, distance(x, y))
  }
  return { absolute, relative: absolute === 0 ? 0 : absolute / largest }
}

/** The elements of both, where both are of 64-bit integers. */
function wholeNumbersOf(first: Tensor, second: Tensor): { a: WholeNumbers; b: WholeNumbers } | null {
  const [a, b] = [first.view(), second.view()]
  return isWide(a) && isWide(b) ? { a, b } : null
}

type WholeNumbers = BigInt64Array | BigUint64Array

function isWide(view: TypedArray): view is WholeNumbers {
  return view instanceof BigInt64Array || view instanceof BigUint64Array
}

const EQUAL: Difference = { absolute: 0, relative: 0 }
const APART: Difference = { absolute: Infinity, relative: Infinity }

function distance(x: number, y: number): number {
  const difference = Math.abs(x - y)
  return Number.isNaN(difference) ? Infinity : difference
}

const HALVES: ReadonlySet<Datatype> = new Set(['FP16', 'BF16'])

/** The relative difference up to which two results agree: of half precision, more is rounding. */
export function toleranceOf(datatypes: readonly Datatype[]): number {
  return datatypes.some(datatype => HALVES.has(datatype)) ? 1e-2 : 1e-3
}
