/** Bytes to be written: in memory, a range of a source, or made on the way. */

import { invariant } from '../util/errors.ts'
import type { ByteRange } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'

export interface Segment {
  readonly byteLength: number
  /** The bytes in order; a chunk is valid until the next one is asked for. */
  chunks(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>
  /** Whether the bytes can be made only when all before them are written. */
  readonly late?: boolean
}

const CHUNK = 1 << 22 // 4 MiB at a time keeps memory flat and disks busy

export function bytesSegment(bytes: Uint8Array): Segment {
  return { byteLength: bytes.byteLength, chunks: () => [bytes] }
}

export function rangeSegment({ source, offset, length }: ByteRange): Segment {
  const whole = offset === 0 && length === source.byteLength
  const chunks = () => (whole && source.pieces?.()) || readChunks({ source, offset, length })
  return { byteLength: length, chunks }
}

/** Bytes that depend on those before them, but not in number. */
export function lateSegment(byteLength: number, make: () => Promise<Uint8Array>): Segment {
  const chunks = async function* () {
    const bytes = await make()
    invariant(bytes.byteLength === byteLength, `${bytes.byteLength} late bytes in place of ${byteLength}`)
    yield bytes
  }
  return { byteLength, chunks, late: true }
}

/** The packed elements of a tensor of numbers. */
export function elementsOf({ data }: Tensor): Segment {
  return 'source' in data ? rangeSegment(data) : bytesSegment(data as Uint8Array)
}

/** A range of a source in pieces of constant size. */
export async function* readChunks(
  { source, offset, length }: ByteRange,
  size = CHUNK,
): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < length; at += size) {
    yield await source.read(offset + at, Math.min(size, length - at))
  }
}

export function byteLengthOfSegments(segments: readonly Segment[]): number {
  return segments.reduce((sum, segment) => sum + segment.byteLength, 0)
}

/** Joins segments in memory. */
export async function joinSegments(segments: readonly Segment[]): Promise<Uint8Array> {
  const bytes = new Uint8Array(byteLengthOfSegments(segments))
  let length = 0
  for (const segment of segments) {
    for await (const chunk of segment.chunks()) {
      bytes.set(chunk, length)
      length += chunk.byteLength
    }
  }
  return bytes
}

/** What is known of an unfinished file, and where it is noted how far it is. */
export interface Journal {
  /** Segments that are in the file, and their bytes. */
  readonly segments: number
  readonly bytes: number
  /** Called now and then, when that much is on the disk. */
  note(segments: number, bytes: number): Promise<void>
}

/** Bytes after which it is noted how far a file is. */
const NOTED = 1 << 26

/** Bytes of segments that are begun while others are written. */
const AHEAD = 1 << 23

interface Begun {
  readonly iterator: Iterator<Uint8Array> | AsyncIterator<Uint8Array>
  readonly first: Promise<IteratorResult<Uint8Array>>
  readonly bytes: number
}

interface Output {
  readonly position: number
  write(bytes: Uint8Array): Promise<void>
  flush(): Promise<void>
}

/** Appends segments to a file, but for those that it has; small ones are made while those before them are written. */
export async function writeSegments(
  segments: readonly Segment[],
  file: Output,
  journal?: Journal,
): Promise<void> {
  const begun: Begun[] = []
  let ahead = 0
  let next = journal?.segments ?? 0
  let noted = file.position
  const begin = (segment: Segment) => {
    const chunks = segment.chunks()
    const iterator =
      Symbol.asyncIterator in chunks ? chunks[Symbol.asyncIterator]() : chunks[Symbol.iterator]()
    const first = Promise.resolve(iterator.next())
    // A failure is reported when its turn comes; until then it must not count as unhandled.
    first.catch(() => undefined)
    const bytes = Math.min(segment.byteLength, CHUNK)
    ahead += bytes
    begun.push({ iterator, first, bytes })
  }
  try {
    for (let i = next; i < segments.length; i++) {
      if (next === i) begin(segments[next++]!)
      while (next < segments.length && ahead < AHEAD && !segments[next]!.late) begin(segments[next++]!)
      const { iterator, first, bytes } = begun[0]!
      for (let result = await first; !result.done; result = await iterator.next())
        await file.write(result.value)
      begun.shift()
      ahead -= bytes
      if (!journal || file.position - noted < NOTED) continue
      await file.flush()
      await journal.note(i + 1, file.position)
      noted = file.position
    }
  } finally {
    for (const { iterator, first } of begun) {
      await first.catch(() => undefined)
      await iterator.return?.()
    }
  }
}
