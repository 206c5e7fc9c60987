/**
 * Blocks of remote files that were read lately, of all files together, so that many small reads (headers, small tensors)
 * are few requests and memory is bounded whatever the number of files.
 */

/** About what a line transfers in the time that a request takes to be answered: a block costs hardly more than a byte. */
export const BLOCK_BYTES = 1 << 18
/** 64 MiB. */
const MOST_BLOCKS = 256
/** Blocks in one request when a file is read on from the block before. */
const RUN = 4

/** File and block -> its bytes, or the request that will bring them; the one used last is at the end. */
const blocks = new Map<string, Promise<Uint8Array>>()
let files = 0

type Read = (offset: number, length: number) => Promise<Uint8Array>

/** The blocks of one file. */
export class BlockCache {
  readonly #file = ++files
  readonly #byteLength: number
  readonly #read: Read

  /** `head`: the first bytes; kept if they are a whole block. */
  constructor(byteLength: number, head: Uint8Array, read: Read) {
    this.#byteLength = byteLength
    this.#read = read
    if (head.byteLength === Math.min(BLOCK_BYTES, byteLength)) this.#remember(0, Promise.resolve(head))
  }

  /** A range of the file; what is on its way is waited for, not asked for again. */
  async read(offset: number, length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length)
    const first = Math.floor(offset / BLOCK_BYTES)
    const end = Math.ceil((offset + length) / BLOCK_BYTES)
    const parts = Array.from({ length: end - first }, (_, i) => this.#block(first + i))
    for (const [i, part] of (await Promise.all(parts)).entries()) {
      const start = (first + i) * BLOCK_BYTES - offset
      bytes.set(part.subarray(Math.max(0, -start), length - start), Math.max(0, start))
    }
    return bytes
  }

  /** Forgets the blocks of this file. */
  clear(): void {
    for (const key of blocks.keys()) if (key.startsWith(`${this.#file}:`)) blocks.delete(key)
  }

  #block(index: number): Promise<Uint8Array> {
    const known = blocks.get(this.#key(index))
    if (known) {
      this.#remember(index, known)
      return known
    }
    const start = index * BLOCK_BYTES
    const limit = Math.min(
      blocks.has(this.#key(index - 1)) ? RUN : 1,
      Math.ceil(this.#byteLength / BLOCK_BYTES) - index,
    )
    let count = 1
    while (count < limit && !blocks.has(this.#key(index + count))) count++
    const run = this.#read(start, Math.min(count * BLOCK_BYTES, this.#byteLength - start))
    const [block] = Array.from({ length: count }, (_, i) => {
      // Copied, so that one block that is still in use does not keep the others in memory.
      const part = run.then(bytes =>
        count === 1 ? bytes : bytes.slice(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES),
      )
      this.#remember(index + i, part)
      return part
    })
    return block!
  }

  #remember(index: number, block: Promise<Uint8Array>): void {
    const key = this.#key(index)
    blocks.delete(key)
    blocks.set(key, block)
    // A failure is told to whoever waits for the block; the next one asks the server again.
    block.catch(() => {
      if (blocks.get(key) === block) blocks.delete(key)
    })
    for (const oldest of blocks.keys()) {
      if (blocks.size <= MOST_BLOCKS) break
      blocks.delete(oldest)
    }
  }

  #key(index: number): string {
    return `${this.#file}:${index}`
  }
}
