/** A remote file as a source: small reads from blocks, reads in a row ahead of time, large ones in parts at once. */

import { checkRange, type ByteSource } from '../tensor/source.ts'
import { BlockCache } from './block-cache.ts'
import type { RangeReader } from './range-reader.ts'

/** A single read of more than this is not cached: nobody reads it twice, and it would push out what is. */
const SMALL_BYTES = 1 << 16
/** One request of a large read: lost and asked for again as a whole when the line breaks. */
const PART_BYTES = 1 << 23
/** Requests of one large read at a time. */
const PARTS_AT_ONCE = 4

export class RemoteSource implements ByteSource {
  readonly name: string
  readonly byteLength: number
  readonly #reader: RangeReader
  readonly #cache: BlockCache
  #closed = false
  /** Where the last read ended. */
  #end = 0
  /** Blocks to be read ahead: the more, the longer reads have come in a row. */
  #ahead = 0

  constructor(reader: RangeReader) {
    this.name = reader.name
    this.byteLength = reader.byteLength
    this.#reader = reader
    this.#cache = new BlockCache(reader.byteLength, reader.head, (offset, length) =>
      reader.fetch(offset, length),
    )
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this, offset, length)
    if (length === 0) return new Uint8Array(0)
    this.#ahead = offset === this.#end ? Math.min(this.#cache.mostAhead, this.#ahead * 2 || 1) : 0
    this.#end = offset + length
    if (length > PART_BYTES) return this.#readParts(offset, length)
    if (length > SMALL_BYTES && this.#ahead === 0) return this.#reader.fetch(offset, length)
    return this.#cache.read(offset, length, this.#ahead)
  }

  async #readParts(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length)
    let next = 0
    const worker = async () => {
      while (next < length) {
        const at = next
        next += PART_BYTES
        try {
          bytes.set(await this.#reader.fetch(offset + at, Math.min(PART_BYTES, length - at)), at)
        } catch (error) {
          next = length // the others need not go on
          throw error
        }
      }
    }
    await Promise.all(Array.from({ length: PARTS_AT_ONCE }, worker))
    return bytes
  }

  close(): Promise<void> {
    if (!this.#closed) this.#cache.close()
    this.#closed = true
    return Promise.resolve()
  }
}
