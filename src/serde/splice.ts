/**
 * Rewrites parts of a protobuf message without decoding it: everything between the edits is copied as it stands, and the
 * lengths of the messages around an edit are corrected, from the innermost outwards.
 */

import { invariant } from '../util/errors.ts'
import type { ByteSource } from '../tensor/source.ts'
import type { Frame, Span } from './scan.ts'
import { bytesSegment, byteLengthOfSegments, rangeSegment, type Segment } from './segment.ts'
import { encodeVarint } from './wire.ts'

/** Replaces [start, end), which lies in `frame`, by segments. An empty span inserts. */
export interface Edit extends Span {
  /** The innermost message around the span; null for the model itself. */
  readonly frame: Frame | null
  readonly segments: readonly Segment[]
}

/** The segments of the edited message, to be written in order. */
export function splice(source: ByteSource, edits: readonly Edit[]): Segment[] {
  const all = [...edits, ...correctLengths(edits)].sort((a, b) => a.start - b.start || a.end - b.end)
  const segments: Segment[] = []
  let position = 0
  for (const edit of all) {
    invariant(edit.start >= position, `edits overlap at byte ${edit.start}`)
    if (edit.start > position)
      segments.push(rangeSegment({ source, offset: position, length: edit.start - position }))
    segments.push(...edit.segments)
    position = edit.end
  }
  if (position < source.byteLength) {
    segments.push(rangeSegment({ source, offset: position, length: source.byteLength - position }))
  }
  return segments
}

/** New length prefixes of all messages that became longer or shorter. */
function correctLengths(edits: readonly Edit[]): Edit[] {
  // 1. How much each message changes because of edits directly in it.
  const changes = new Map<Frame, number>()
  const grow = (frame: Frame | null, bytes: number) => {
    if (frame?.parent) changes.set(frame, (changes.get(frame) ?? 0) + bytes)
  }
  for (const { frame, start, end, segments } of edits)
    grow(frame, byteLengthOfSegments(segments) - (end - start))
  // 2. Deepest first, so that a message is done when its change, and that of its prefix, reach the one around it.
  const lengths: Edit[] = []
  for (let depth = Math.max(0, ...[...changes.keys()].map(frame => frame.depth)); depth > 0; depth--) {
    for (const [frame, change] of [...changes].filter(([frame]) => frame.depth === depth)) {
      if (change === 0) continue
      const prefix = encodeVarint(frame.end - frame.start + change)
      const { lengthAt, start, parent } = frame
      lengths.push({ frame: parent, start: lengthAt, end: start, segments: [bytesSegment(prefix)] })
      grow(parent, change + prefix.byteLength - (start - lengthAt))
    }
  }
  return lengths
}
