/**
 * Memory that is used again. Fresh buffers of a request's size bring the collector of garbage on: at 600 KB a request it
 * ran all the time, and requests waited up to 30 ms for it.
 */

/** Smaller ones are cheaper to make than to keep. */
const SMALLEST = 1 << 12
/** Larger ones are rare, and not kept. */
const LARGEST = 1 << 26
/** Bytes kept at most. */
const MOST_KEPT = 1 << 28

export class Buffers {
  readonly #free = new Map<number, ArrayBuffer[]>()
  #kept = 0

  /** So many bytes of a buffer of their own, with whatever was in them; no larger than a quarter more. */
  take(bytes: number): Uint8Array {
    if (bytes < SMALLEST || bytes > LARGEST) return Buffer.allocUnsafeSlow(bytes)
    const size = sizeClass(bytes)
    const buffer = this.#free.get(size)?.pop()
    if (buffer === undefined) return new Uint8Array(Buffer.allocUnsafeSlow(size).buffer, 0, bytes)
    this.#kept -= size
    return new Uint8Array(buffer, 0, bytes)
  }

  /** Gives the buffer of a `take` back; nobody may use it any more. */
  give(buffer: ArrayBufferLike): void {
    const size = buffer.byteLength
    const known =
      buffer instanceof ArrayBuffer && size >= SMALLEST && size <= LARGEST && sizeClass(size) === size
    if (!known || this.#kept + size > MOST_KEPT) return
    const free = this.#free.get(size)
    if (free === undefined) this.#free.set(size, [buffer])
    else free.push(buffer)
    this.#kept += size
  }
}

/** The next of 4, 5, 6, 7 times a power of two. */
export function sizeClass(bytes: number): number {
  const step = 2 ** (Math.floor(Math.log2(bytes)) - 2)
  return Math.ceil(bytes / step) * step
}

/** One for the process: what one model gives back another can use. */
export const buffers = new Buffers()
