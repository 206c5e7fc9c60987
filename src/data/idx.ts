/**
 * The IDX format of the MNIST family. Source: http://yann.lecun.com/exdb/mnist, "the IDX file format":
 * two zero bytes, a type byte, the number of dims, the dims as big-endian uint32, the elements big-endian, row-major.
 */

import { formatShape, sizeOf } from '../tensor/shape.ts'
import { InputError } from '../util/errors.ts'
import { loadUnpacked } from './bytes.ts'
import { decodeElements, widthOf, type Decoded, type ElementType } from './elements.ts'

export interface IdxArray extends Decoded {
  readonly dims: readonly number[]
}

const TYPES: Readonly<Record<number, ElementType>> = {
  0x08: 'u1',
  0x09: 'i1',
  0x0b: 'i2',
  0x0c: 'i4',
  0x0d: 'f4',
  0x0e: 'f8',
}

/** Whether the bytes may be an IDX file. */
export function isIdx(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && bytes[0] === 0 && bytes[1] === 0 && TYPES[bytes[2]!] !== undefined
}

/** The array of an IDX file; `where` names the file in messages. */
export function decodeIdx(bytes: Uint8Array, where: string): IdxArray {
  if (bytes.length < 4) throw new InputError(`${where}: IDX header needs 4 bytes, found ${bytes.length}`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const type = TYPES[bytes[2]!]
  if (bytes[0] !== 0 || bytes[1] !== 0 || type === undefined) {
    const magic = view.getUint32(0).toString(16).padStart(8, '0')
    throw new InputError(`${where}: expected an IDX magic such as 0x00000803, found 0x${magic}`)
  }
  const rank = bytes[3]!
  const start = 4 + 4 * rank
  if (rank === 0 || bytes.length < start)
    throw new InputError(`${where}: IDX header with ${rank} dims needs ${start} bytes, found ${bytes.length}`)
  const dims = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i))
  const expected = sizeOf(dims) * widthOf(type)
  const found = bytes.length - start
  if (expected !== found)
    throw new InputError(`${where}: IDX dims ${formatShape(dims)} need ${expected} bytes, found ${found}`)
  return { dims, ...decodeElements(bytes.subarray(start), type, false) }
}

/** Reads an IDX file, gzipped or not. */
export async function loadIdx(path: string): Promise<IdxArray> {
  return decodeIdx(await loadUnpacked(path), path)
}
