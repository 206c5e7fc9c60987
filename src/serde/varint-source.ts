/** Packed varints in a file, read as the packed bytes of the tensor they hold, a block at a time. */

import { InputError } from '../util/errors.ts'
import { checkRange, type ByteRange, type ByteSource } from '../tensor/source.ts'
import { decodeVarints } from './typed-data.ts'

const BLOCK = 1 << 16 // numbers between two places that reading can start from
const CHUNK = 1 << 20

export class VarintSource implements ByteSource {
  readonly name: string
  readonly byteLength: number
  readonly #encoded: ByteRange
  readonly #width: number
  readonly #count: number
  /** Offset of each block in the encoded bytes, and their end. */
  readonly #blocks: readonly number[]

  private constructor(name: string, encoded: ByteRange, width: number, count: number, blocks: number[]) {
    this.name = name
    this.byteLength = count * width
    this.#encoded = encoded
    this.#width = width
    this.#count = count
    this.#blocks = blocks
  }

  /** Counts the numbers and notes where blocks start: one pass, without keeping anything else. */
  static async open(name: string, encoded: ByteRange, width: number, count: number): Promise<VarintSource> {
    const blocks = [0]
    let found = 0
    let last = 0
    for (let at = 0; at < encoded.length; at += CHUNK) {
      const bytes = await encoded.source.read(encoded.offset + at, Math.min(CHUNK, encoded.length - at))
      for (let i = 0; i < bytes.byteLength; i++) {
        last = bytes[i]!
        if (last < 128 && ++found % BLOCK === 0) blocks.push(at + i + 1)
      }
    }
    if (found !== count || last >= 128) {
      throw new InputError(`${name}: expected ${count} numbers in its typed data, found ${found}`)
    }
    if (blocks.at(-1) !== encoded.length) blocks.push(encoded.length)
    return new VarintSource(name, encoded, width, count, blocks)
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this, offset, length)
    const bytes = new Uint8Array(length)
    const blockBytes = BLOCK * this.#width
    for (let done = 0; done < length;) {
      const block = Math.floor((offset + done) / blockBytes)
      const decoded = await this.#readBlock(block)
      const part = decoded.subarray(offset + done - block * blockBytes).subarray(0, length - done)
      bytes.set(part, done)
      done += part.byteLength
    }
    return bytes
  }

  /** The file belongs to the model. */
  close(): Promise<void> {
    return Promise.resolve()
  }

  async #readBlock(block: number): Promise<Uint8Array> {
    const [start, end] = [this.#blocks[block]!, this.#blocks[block + 1]!]
    const { source, offset } = this.#encoded
    const count = Math.min(BLOCK, this.#count - block * BLOCK)
    return decodeVarints(await source.read(offset + start, end - start), this.#width, count, this.name)
  }
}
