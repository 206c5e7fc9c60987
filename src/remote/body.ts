/** Bodies of answers, as they come. */

import { InputError } from '../util/errors.ts'
import type { Patience } from './patience.ts'
import { TransientError } from './retry.ts'

/** What broken servers and proxies are cured with. */
export const BROKEN = {
  cure: 'the server or a proxy before it is broken; download the file and name it instead',
}

/** A body of exactly `length` bytes; one that ends early may be complete the next time. */
export async function readBody(
  name: string,
  chunks: AsyncIterable<Uint8Array>,
  length: number,
  patience: Patience,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  let at = 0
  for await (const chunk of chunks) {
    if (at + chunk.byteLength > length)
      throw new InputError(`read ${name}: expected ${length} bytes, the server sends more`, BROKEN)
    bytes.set(chunk, at)
    at += chunk.byteLength
    patience.progress(chunk.byteLength)
  }
  if (at < length) throw new TransientError(`expected ${length} bytes, the server sends ${at}`)
  return bytes
}

/** A body of unknown length, or null when it has more than `limit` bytes. */
export async function readUpTo(
  chunks: AsyncIterable<Uint8Array>,
  limit: number,
  patience: Patience,
): Promise<Uint8Array | null> {
  const parts: Uint8Array[] = []
  let length = 0
  for await (const chunk of chunks) {
    length += chunk.byteLength
    if (length > limit) return null
    parts.push(chunk)
    patience.progress(chunk.byteLength)
  }
  return Buffer.concat(parts)
}
