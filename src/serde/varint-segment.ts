/** Elements of a tensor as packed varints, made while they are written. */

import type { DType } from '../tensor/dtype.ts'
import type { ByteSource } from '../tensor/source.ts'
import { readChunks, type Segment } from './segment.ts'
import { encodeVarints } from './typed-data.ts'

const CHUNK = 1 << 20 // a multiple of every element's width

/** Two passes: the length stands before the content. */
export async function varintSegment(source: ByteSource, dtype: DType): Promise<Segment> {
  const range = { source, offset: 0, length: source.byteLength }
  let byteLength = 0
  for await (const chunk of readChunks(range, CHUNK)) byteLength += encodeVarints(chunk, dtype).byteLength
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for await (const chunk of readChunks(range, CHUNK)) yield encodeVarints(chunk, dtype)
  }
  return { byteLength, chunks }
}
