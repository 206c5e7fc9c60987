/** Elements of the averaged dtypes as typed arrays, and the narrow ones as float32. */

import { DTYPES, numberToBfloat16, numberToFloat16 } from '../tensor/dtype.ts'
import { encodeFloat8, float8Values, type Float8DType } from '../tensor/float8.ts'
import type { AveragedDType } from './rounding.ts'

/** What packed elements are viewed through: 16-bit and 8-bit formats as their bits. */
export type Elements = Float32Array | Float64Array | Uint16Array | Uint8Array

type Constructor = new (buffer: ArrayBufferLike, offset: number, length: number) => Elements

const ARRAYS: Readonly<Record<AveragedDType, Constructor & { readonly BYTES_PER_ELEMENT: number }>> = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  float8e4m3fn: Uint8Array,
  float8e4m3fnuz: Uint8Array,
  float8e5m2: Uint8Array,
  float8e5m2fnuz: Uint8Array,
}

/** Bytes of an element. */
export function widthOf(dtype: AveragedDType): number {
  return DTYPES[dtype].bits / 8
}

/** Packed bytes as elements: the same memory, or a copy where they are not aligned. */
export function viewOf(dtype: AveragedDType, bytes: Uint8Array): Elements {
  const View = ARRAYS[dtype]
  const width = View.BYTES_PER_ELEMENT
  const { buffer, byteOffset } = bytes.byteOffset % width === 0 ? bytes : new Uint8Array(bytes)
  return new View(buffer, byteOffset, bytes.byteLength / width)
}

export function bytesOf({ buffer, byteOffset, byteLength }: Elements): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

/** Elements of a narrow format as float32, exactly. */
export function widen(dtype: AveragedDType, x: Uint16Array | Uint8Array, out: Float32Array): void {
  if (dtype === 'bfloat16') {
    const words = new Uint32Array(out.buffer, out.byteOffset, out.length)
    for (let i = 0; i < x.length; i++) words[i] = x[i]! << 16
  } else {
    const table = dtype === 'float16' ? float16Table() : float8Values(dtype as Float8DType)
    for (let i = 0; i < x.length; i++) out[i] = table[x[i]!]!
  }
}

let table16: Float32Array | null = null

function float16Table(): Float32Array {
  return (table16 ??= Float32Array.from({ length: 65536 }, (_, code) => {
    const fraction = code & 0x3ff
    const exponent = (code >> 10) & 0x1f
    const sign = code & 0x8000 ? -1 : 1
    if (exponent === 31) return fraction ? NaN : sign * Infinity
    return sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24)
  }))
}

/** A number that the dtype has, NaN and infinities included, as an element. */
export function encodeElement(dtype: AveragedDType, value: number): number {
  if (dtype === 'float32' || dtype === 'float64') return value
  if (dtype === 'float16') return numberToFloat16(value)
  if (dtype === 'bfloat16') return numberToBfloat16(value)
  return encodeFloat8(dtype, value)
}
