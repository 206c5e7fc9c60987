/** The protobuf wire format: varints and tags. Source: protobuf.dev, "Encoding". */

import { concatBytes, utf8 } from '../util/bytes.ts'

export const VARINT = 0
export const FIXED64 = 1
export const BYTES = 2
export const GROUP_START = 3
export const GROUP_END = 4
export const FIXED32 = 5

/** Longest legal varint: 64 bits in groups of 7. */
export const VARINT_LIMIT = 10

/** Bytes of a non-negative safe integer as a varint. */
export function varintLength(value: number): number {
  let length = 1
  for (let rest = value; rest >= 128; rest = Math.floor(rest / 128)) length++
  return length
}

/** A non-negative safe integer as a varint. */
export function encodeVarint(value: number): Uint8Array {
  const bytes = new Uint8Array(varintLength(value))
  let rest = value
  for (let i = 0; i < bytes.length; i++, rest = Math.floor(rest / 128)) {
    bytes[i] = (rest % 128) | (i < bytes.length - 1 ? 128 : 0)
  }
  return bytes
}

/** The key in front of a field. */
export function encodeTag(field: number, wireType: number): Uint8Array {
  return encodeVarint(field * 8 + wireType)
}

/** Writes a number below 2^32 as a varint of exactly five bytes: a length that is filled in later. */
export function writePaddedVarint(bytes: Uint8Array, at: number, value: number): void {
  for (let i = 0; i < 5; i++) bytes[at + i] = ((value >>> (7 * i)) & 127) | (i < 4 ? 128 : 0)
}

export const PADDED_VARINT = 5

/** A field of bytes: tag, length, content. */
export function encodeField(field: number, content: Uint8Array): Uint8Array {
  return concatBytes([encodeTag(field, BYTES), encodeVarint(content.byteLength), content])
}

/** A StringStringEntryProto. */
export function encodeEntry(key: string, value: string): Uint8Array {
  return concatBytes([encodeField(1, utf8(key)), encodeField(2, utf8(value))])
}
