/** BYTES elements as binary data: each a little-endian uint32 length and so many bytes. */

import { invalid } from './errors.ts'

/** Exactly `count` elements that fill `data`; they are views into it. */
export function decodeStrings(data: Uint8Array, count: number, where: string): Uint8Array[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const strings: Uint8Array[] = []
  let at = 0
  // Every element takes at least four bytes: a count that cannot be true makes no list.
  if (count * 4 > data.byteLength) {
    throw invalid(`${where}: expected ${count} BYTES elements, found ${data.byteLength} bytes of data`)
  }
  for (let i = 0; i < count; i++) {
    if (at + 4 > data.byteLength)
      throw invalid(`${where}: element ${i} of ${count} begins behind the end of the data`)
    const length = view.getUint32(at, true)
    at += 4
    if (at + length > data.byteLength) {
      throw invalid(`${where}: element ${i} has ${length} bytes, ${data.byteLength - at} are left`)
    }
    strings.push(data.subarray(at, at + length))
    at += length
  }
  if (at !== data.byteLength) {
    throw invalid(
      `${where}: ${data.byteLength - at} bytes are left behind ${count} BYTES elements, expected none`,
    )
  }
  return strings
}

export function encodeStrings(strings: readonly Uint8Array[]): Uint8Array {
  const data = new Uint8Array(strings.reduce((sum, { byteLength }) => sum + 4 + byteLength, 0))
  const view = new DataView(data.buffer)
  let at = 0
  for (const string of strings) {
    view.setUint32(at, string.byteLength, true)
    data.set(string, at + 4)
    at += 4 + string.byteLength
  }
  return data
}
