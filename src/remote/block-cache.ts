/**
 * Blocks of remote files that were read lately or will be read next, of all files together, so that many small reads
 * (headers, small tensors) are few requests, and memory is bounded whatever the number of files.
 */

/** About what a line transfers in the time that a request takes to be answered: a block costs hardly more than a byte. */
const BLOCK_BYTES = 1 << 18
/** 64 MiB. */
const MOST_BLOCKS = 256
/** Blocks of one request. */
const RUN = 8

/** What the first request for a file asks for. */
export const HEAD_BYTES = BLOCK_BYTES

/** File and block -> its bytes, or the request that will bring them; the one used last is at the end. */
const blocks = new Map<string, Promise<Uint8Array>>()
let opened = 0
let open = 0

type Read = (offset: number, length: number) => Promise<Uint8Array>

/** The blocks of one file. */
export class BlockCache {
  readonly #file = ++opened
  readonly #byteLength: number
  readonly #read: Read

  /** `head`: the first bytes; kept if they are a whole block. */
  constructor(byteLength: number, head: Uint8Array, read: Read) {
    open++
    this.#byteLength = byteLength
    this.#read = read
    if (head.byteLength === Math.min(BLOCK_BYTES, byteLength)) this.#remember(0, Promise.resolve(head))
  }

  /** How many blocks may be read ahead, so that those of all open files have room: none if there are too many files. */
  get mostAhead(): number {
    return Math.min(RUN, Math.floor(MOST_BLOCKS / (2 * open)))
  }

  /** A range of the file; what is on its way is waited for. `ahead`: blocks behind it that will be wanted next. */
  async read(offset: number, length: number, ahead = 0): Promise<Uint8Array> {
    const bytes = new Uint8Array(length)
    const first = Math.floor(offset / BLOCK_BYTES)
    const end = Math.ceil((offset + length) / BLOCK_BYTES)
    const parts = this.#take(first, end)
    this.#ensure(end, end + ahead)
    for (const [i, part] of (await Promise.all(parts)).entries()) {
      const start = (first + i) * BLOCK_BYTES - offset
      bytes.set(part.subarray(Math.max(0, -start), length - start), Math.max(0, start))
    }
    return bytes
  }

  /** Forgets the blocks of this file, once. */
  close(): void {
    open--
    for (const key of blocks.keys()) if (key.startsWith(`${this.#file}:`)) blocks.delete(key)
  }

  /** Blocks `first` to `end`, those that are missing in as few requests as may be. */
  #take(first: number, end: number): Promise<Uint8Array>[] {
    const taken: Promise<Uint8Array>[] = []
    for (let i = first; i < end; i++) {
      const known = blocks.get(this.#key(i))
      if (known) {
        this.#remember(i, known)
        taken.push(known)
        continue
      }
      let count = 1
      while (count < RUN && i + count < end && !blocks.has(this.#key(i + count))) count++
      taken.push(...this.#request(i, count))
      i += count - 1
    }
    return taken
  }

  /** Asks for blocks that will be wanted, when half of them are missing: not for each one alone. */
  #ensure(first: number, end: number): void {
    const limit = Math.min(end, Math.ceil(this.#byteLength / BLOCK_BYTES))
    let known = first
    while (known < limit && blocks.has(this.#key(known))) known++
    if (known < limit && known - first <= (limit - first) / 2) void this.#take(known, limit)
  }

  #request(first: number, count: number): Promise<Uint8Array>[] {
    const start = first * BLOCK_BYTES
    const run = this.#read(start, Math.min(count * BLOCK_BYTES, this.#byteLength - start))
    return Array.from({ length: count }, (_, i) => {
      // Copied, so that one block that is still in use does not keep the others in memory.
      const part = run.then(bytes => bytes.slice(i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES))
      this.#remember(first + i, part)
      return part
    })
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
