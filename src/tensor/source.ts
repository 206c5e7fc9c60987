/** A place that bytes are read from by range: a file, a blob, a URL or memory. */

import { InputError } from '../util/errors.ts'

export interface ByteSource {
  /** For messages: a path or URL. */
  readonly name: string
  readonly byteLength: number
  /** The descriptor of the local file that offsets count in, where there is one: other threads can read it themselves. */
  readonly fd?: number
  /** Reads exactly `length` bytes from `offset`; fails if the source is shorter. */
  read(offset: number, length: number): Promise<Uint8Array>
  /** All bytes in order, several pieces being made at a time; a piece is valid until the next one is asked for. */
  pieces?(): AsyncIterable<Uint8Array>
  close(): Promise<void>
}

/** Bytes that are in memory already. */
export class MemorySource implements ByteSource {
  readonly name: string
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array, name = 'memory') {
    this.#bytes = bytes
    this.name = name
  }

  get byteLength(): number {
    return this.#bytes.byteLength
  }

  read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this, offset, length)
    return Promise.resolve(this.#bytes.subarray(offset, offset + length))
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

/** Fails with a clear error when a range does not lie inside a source. */
export function checkRange(
  source: Pick<ByteSource, 'name' | 'byteLength'>,
  offset: number,
  length: number,
): void {
  const fits = Number.isSafeInteger(offset) && Number.isSafeInteger(length) && offset >= 0 && length >= 0
  if (fits && offset + length <= source.byteLength) return
  throw new InputError(
    `${source.name}: bytes ${offset} to ${offset + length} are wanted, but the file has ${source.byteLength}`,
    { cure: 'the file is truncated or damaged; copy or export it again' },
  )
}

/** A range of a source: how a weight that was not read yet is held. */
export interface ByteRange {
  readonly source: ByteSource
  readonly offset: number
  readonly length: number
}
