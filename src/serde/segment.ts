/** Bytes to be written: in memory, a range of a source, or made on the way. */

import type { ByteRange } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'

export interface Segment {
  readonly byteLength: number
  chunks(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>
}

const CHUNK = 1 << 22 // 4 MiB at a time keeps memory flat and disks busy

export function bytesSegment(bytes: Uint8Array): Segment {
  return { byteLength: bytes.byteLength, chunks: () => [bytes] }
}

export function rangeSegment({ source, offset, length }: ByteRange): Segment {
  return { byteLength: length, chunks: () => readChunks({ source, offset, length }) }
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

/** Appends segments to a file. */
export async function writeSegments(
  segments: readonly Segment[],
  file: { write(bytes: Uint8Array): Promise<void> },
): Promise<void> {
  for (const segment of segments) for await (const chunk of segment.chunks()) await file.write(chunk)
}
