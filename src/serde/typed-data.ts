/** The typed fields of TensorProto: which field holds an element type, and its numbers as packed little-endian bytes. */

import { InputError } from '../util/errors.ts'
import { DTYPES, type DType } from '../tensor/dtype.ts'
import { FIXED32, FIXED64, VARINT, VARINT_LIMIT } from './wire.ts'

export interface TypedField {
  /** Field number in TensorProto. */
  readonly field: number
  /** How one number of the field is written. */
  readonly wireType: typeof FIXED32 | typeof FIXED64 | typeof VARINT
  /** Bytes of one number in packed form. */
  readonly width: number
}

/** The typed field of an element type. Sub-byte types hold one packed byte, hence several elements, in each number. */
export function typedFieldOf(dtype: DType): TypedField {
  const { bits } = DTYPES[dtype]
  switch (dtype) {
    case 'float32':
    case 'complex64':
      return { field: 4, wireType: FIXED32, width: 4 }
    case 'float64':
    case 'complex128':
      return { field: 10, wireType: FIXED64, width: 8 }
    case 'int64':
      return { field: 7, wireType: VARINT, width: 8 }
    case 'uint64':
    case 'uint32':
      return { field: 11, wireType: VARINT, width: bits / 8 }
    default:
      return { field: 5, wireType: VARINT, width: Math.max(1, bits / 8) }
  }
}

/** The end of the varint at `at`; a varint that has no end within ten bytes or within the bytes is an error. */
export function varintEnd(bytes: Uint8Array, at: number, where: string): number {
  const limit = Math.min(bytes.byteLength, at + VARINT_LIMIT)
  for (let end = at; end < limit; end++) if (bytes[end]! < 128) return end + 1
  throw new InputError(`${where}: the number at byte ${at} of its typed data has no end`)
}

/** A run of single numbers, each behind its tag, as one packed content. */
export function packRun(run: Uint8Array, wireType: number, where: string): Uint8Array {
  const packed = new Uint8Array(run.byteLength)
  let length = 0
  for (let at = 0; at < run.byteLength;) {
    const start = varintEnd(run, at, where)
    const end = wireType === VARINT ? varintEnd(run, start, where) : start + (wireType === FIXED64 ? 8 : 4)
    packed.set(run.subarray(start, end), length)
    length += end - start
    at = end
  }
  return packed.slice(0, length)
}

/**
 * Varints -> packed little-endian numbers of `width` bytes. Narrow numbers may be written as signed or as unsigned:
 * writers differ about the bits of float16 and of int8. A number that fits neither way is an error.
 */
export function decodeVarints(encoded: Uint8Array, width: number, count: number, where: string): Uint8Array {
  // Checked before anything is allocated: dims of a damaged file may promise any number of elements.
  if (encoded.byteLength < count) {
    throw new InputError(
      `${where}: expected ${count} numbers in its typed data, found ${encoded.byteLength} bytes`,
    )
  }
  const packed = new Uint8Array(count * width)
  const view = new DataView(packed.buffer)
  let at = 0
  for (let i = 0; i < count; i++) {
    const end = varintEnd(encoded, at, where)
    let low = 0
    let high = 0
    for (let shift = 0; at < end; at++, shift += 7) {
      const digit = encoded[at]! & 127
      if (shift < 32) low |= digit << shift
      if (shift > 28) high |= digit << (shift - 32)
      else if (shift === 28) high |= digit >> 4
    }
    if (width === 8) {
      view.setInt32(i * 8, low, true)
      view.setInt32(i * 8 + 4, high, true)
      continue
    }
    const fits = width === 4 || (low >= -(2 ** (8 * width - 1)) && low < 2 ** (8 * width))
    if (!fits || (high !== 0 && (high !== -1 || low >= 0))) {
      const value = (BigInt(high) << 32n) | BigInt(low >>> 0)
      throw new InputError(`${where}: number ${i} of its typed data is ${value}, beyond ${8 * width} bits`)
    }
    if (width === 4) view.setInt32(i * 4, low, true)
    else if (width === 2) view.setInt16(i * 2, low, true)
    else view.setInt8(i, low)
  }
  if (at !== encoded.byteLength) {
    throw new InputError(`${where}: its typed data has more than the expected ${count} numbers`)
  }
  return packed
}

const SIGNED = new Set<DType>(['int8', 'int16', 'int32', 'int64'])

/** Packed little-endian numbers -> varints, negative ones in ten bytes as protobuf wants it. */
export function encodeVarints(packed: Uint8Array, dtype: DType): Uint8Array {
  const { width } = typedFieldOf(dtype)
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength)
  const signed = SIGNED.has(dtype)
  const encoded = new Uint8Array((packed.byteLength / width) * VARINT_LIMIT)
  let length = 0
  for (let at = 0; at < packed.byteLength; at += width) {
    let low = width === 1 ? view.getInt8(at) : width === 2 ? view.getInt16(at, true) : view.getInt32(at, true)
    let high = width === 8 ? view.getInt32(at + 4, true) : signed && low < 0 ? -1 : 0
    if (!signed && width < 4) low &= 2 ** (8 * width) - 1
    while (high !== 0 || low >>> 0 > 127) {
      encoded[length++] = (low & 127) | 128
      low = (low >>> 7) | (high << 25)
      high >>>= 7
    }
    encoded[length++] = low
  }
  return encoded.slice(0, length)
}
