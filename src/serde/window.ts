/** A sliding view of a source, for parsing from small positional reads; a source in memory is one window. */

import { MemorySource, type ByteSource } from '../tensor/source.ts'
import { VARINT_LIMIT } from './wire.ts'

const CHUNK = 1 << 16 // 64 KiB: small beside the weights that are jumped over, large beside a node

export class Window {
  readonly #source: ByteSource
  readonly #inMemory: boolean
  #bytes: Uint8Array
  #base = 0

  private constructor(source: ByteSource, bytes: Uint8Array, inMemory: boolean) {
    this.#source = source
    this.#bytes = bytes
    this.#inMemory = inMemory
  }

  static async over(source: ByteSource): Promise<Window> {
    const inMemory = source instanceof MemorySource
    const bytes = inMemory ? await source.read(0, source.byteLength) : new Uint8Array(0)
    return new Window(source, bytes, inMemory)
  }

  /** Whether `length` bytes at `position` are readable. */
  has(position: number, length: number): boolean {
    return position >= this.#base && position + length <= this.#base + this.#bytes.byteLength
  }

  /** Makes `length` bytes at `position` readable; they must lie inside the source. */
  async need(position: number, length: number): Promise<void> {
    if (this.has(position, length)) return
    const wanted = Math.max(length, CHUNK)
    this.#bytes = await this.#source.read(position, Math.min(wanted, this.#source.byteLength - position))
    this.#base = position
  }

  /** The varint at a position that was asked for, or null when it does not end before `limit`. */
  varint(position: number, limit: number): { value: number; end: number } | null {
    let value = 0
    let scale = 1
    const last = Math.min(limit, position + VARINT_LIMIT)
    for (let at = position; at < last; at++, scale *= 128) {
      const byte = this.#bytes[at - this.#base]!
      value += (byte & 127) * scale
      if (byte < 128) return Number.isSafeInteger(value) ? { value, end: at + 1 } : null
    }
    return null
  }

  /** The end of a varint of any size, or null when it does not end before `limit`. */
  skipVarint(position: number, limit: number): number | null {
    const last = Math.min(limit, position + VARINT_LIMIT)
    for (let at = position; at < last; at++) if (this.#bytes[at - this.#base]! < 128) return at + 1
    return null
  }

  /** As much of [position, end) as is at hand, at least one byte. */
  async chunk(position: number, end: number): Promise<Uint8Array> {
    await this.need(position, Math.min(end - position, CHUNK))
    const from = position - this.#base
    return this.#bytes.subarray(from, from + Math.min(end - position, this.#bytes.byteLength - from))
  }

  /** [start, end) without a copy if the whole source is in memory, else null. */
  resident(start: number, end: number): Uint8Array | null {
    return this.#inMemory ? this.#bytes.subarray(start, end) : null
  }

  /** [start, end), which was asked for; valid until more is asked for. */
  view(start: number, end: number): Uint8Array {
    return this.#bytes.subarray(start - this.#base, end - this.#base)
  }
}
