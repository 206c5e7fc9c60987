/** Numbers as data files store them, brought to the three array types that batches are made from. */

import { float16ToNumber } from '../tensor/dtype.ts'
import { formatShape, sizeOf, type Shape } from '../tensor/shape.ts'
import { InputError } from '../util/errors.ts'

/** uint8 stays as it is (pixels), other integers become int32 where they fit, everything else float32. */
export type Elements = Uint8Array | Int32Array | Float32Array

/** Kind and bytes of one stored element: `u1` is a byte, `f8` a double, `b1` a bool. */
export type ElementType = 'b1' | 'u1' | 'i1' | 'u2' | 'i2' | 'u4' | 'i4' | 'u8' | 'i8' | 'f2' | 'f4' | 'f8'

export interface Decoded {
  readonly data: Elements
  /** Whether the file stores integers (or bools), whatever `data` is. */
  readonly integer: boolean
}

export function isElementType(text: string): text is ElementType {
  return /^(?:b1|u[1248]|i[1248]|f[248])$/.test(text)
}

/** Bytes of one element. */
export function widthOf(type: ElementType): number {
  return Number(type[1])
}

/** The elements of a packed array of numbers. The bytes may be used as they are: do not change them afterwards. */
export function decodeElements(bytes: Uint8Array, type: ElementType, littleEndian: boolean): Decoded {
  const native = littleEndian || widthOf(type) === 1 ? bytes : swapped(bytes, widthOf(type))
  const integer = !type.startsWith('f')
  const view = viewOf(native, type)
  if (type === 'f2') return { data: Float32Array.from(view as Uint16Array, float16ToNumber), integer }
  if (view instanceof Uint8Array || view instanceof Int32Array || view instanceof Float32Array)
    return { data: view, integer }
  if (view instanceof BigInt64Array || view instanceof BigUint64Array)
    return { data: narrowed(view), integer }
  if (view instanceof Float64Array) return { data: Float32Array.from(view), integer }
  return { data: view instanceof Uint32Array ? narrowed(view) : Int32Array.from(view), integer }
}

function viewOf(bytes: Uint8Array, type: ElementType) {
  const width = widthOf(type)
  const { buffer, byteOffset } = bytes.byteOffset % width === 0 ? bytes : bytes.slice()
  const count = bytes.byteLength / width
  switch (type) {
    case 'b1':
    case 'u1':
      return new Uint8Array(buffer, byteOffset, count)
    case 'i1':
      return new Int8Array(buffer, byteOffset, count)
    case 'u2':
    case 'f2':
      return new Uint16Array(buffer, byteOffset, count)
    case 'i2':
      return new Int16Array(buffer, byteOffset, count)
    case 'u4':
      return new Uint32Array(buffer, byteOffset, count)
    case 'i4':
      return new Int32Array(buffer, byteOffset, count)
    case 'u8':
      return new BigUint64Array(buffer, byteOffset, count)
    case 'i8':
      return new BigInt64Array(buffer, byteOffset, count)
    case 'f4':
      return new Float32Array(buffer, byteOffset, count)
    case 'f8':
      return new Float64Array(buffer, byteOffset, count)
  }
}

/** Wide integers as int32 if every one fits, else rounded to float32 (large counters and time stamps as features). */
function narrowed(wide: BigInt64Array | BigUint64Array | Uint32Array): Int32Array | Float32Array {
  const narrow = new Int32Array(wide.length)
  for (let i = 0; i < wide.length; i++) {
    const value = Number(wide[i]!)
    narrow[i] = value
    if (narrow[i] !== value) return Float32Array.from(wide as ArrayLike<number | bigint>, Number)
  }
  return narrow
}

/** A copy with the bytes of every element reversed. */
function swapped(bytes: Uint8Array, width: number): Uint8Array {
  const copy = new Uint8Array(bytes.byteLength)
  for (let start = 0; start < bytes.byteLength; start += width) {
    for (let i = 0; i < width; i++) copy[start + i] = bytes[start + width - 1 - i]!
  }
  return copy
}

/** Smallest and largest number of an array, NaN if any element is not a number; [0, 0] when empty. */
export function rangeOf(data: Elements): [number, number] {
  if (data.length === 0) return [0, 0]
  let low = Infinity
  let high = -Infinity
  for (const value of data) {
    if (Number.isNaN(value)) return [NaN, NaN]
    if (value < low) low = value
    if (value > high) high = value
  }
  return [low, high]
}

/** Refuses NaN in rows: what is computed with it is NaN too. */
export function checkNumbers(
  dataset: string,
  { name, dims, data }: { readonly name: string; readonly dims: Shape; readonly data: Elements },
): void {
  const at = data.findIndex(value => Number.isNaN(value))
  if (at < 0) return
  const row = Math.floor(at / sizeOf(dims.slice(1)))
  throw new InputError(
    `${dataset}: row ${row} of '${name}' ${formatShape(dims)} holds NaN, expected numbers`,
    {
      cure: 'repair or leave out the rows with NaN',
    },
  )
}
