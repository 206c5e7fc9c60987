/**
 * Walks the protobuf structure of an ONNX file without its weights: positional reads of the small fields give the
 * outline, a message that protobufjs decodes; the elements of tensors are left where they are and remembered by place.
 * An explicit stack and exact bounds: no byte sequence can make it recurse, hang or allocate without limit.
 */

import { InputError } from '../util/errors.ts'
import type { ByteSource } from '../tensor/source.ts'
import { DEPTH_LIMIT, FIELD_COUNT_LIMIT, MESSAGE_COUNT_LIMIT, RESIDENT_LIMIT } from './limits.ts'
import { Outline } from './outline.ts'
import {
  EXTERNAL_DATA_FIELD,
  MARKER_FIELD,
  METADATA_FIELD,
  PAYLOAD_FIELDS,
  SCHEMA,
  type MessageKind,
} from './schema.ts'
import { Window } from './window.ts'
import { BYTES, FIXED32, FIXED64, GROUP_END, GROUP_START, VARINT, VARINT_LIMIT } from './wire.ts'

/** A message in the file. Its length is written at [lengthAt, start), its fields are [start, end). */
export interface Frame {
  readonly kind: MessageKind
  readonly parent: Frame | null
  readonly depth: number
  readonly lengthAt: number
  readonly start: number
  readonly end: number
}

/** A field in the file, from its tag to its end. */
export interface Span {
  readonly start: number
  readonly end: number
}

/** A field of bytes, and where its content starts. */
export interface ContentSpan extends Span {
  readonly contentStart: number
}

/** A field with elements of a tensor: one field of bytes or packed numbers, or a run of fields of one number each. */
export interface Payload extends ContentSpan {
  readonly field: number
  /** Of a run, that of its numbers; its content starts at the first tag. */
  readonly wireType: number
  /** [contentStart, end), when it is small or the file is in memory. */
  readonly bytes: Uint8Array | null
}

/** Where one TensorProto is. */
export interface TensorSite {
  readonly frame: Frame
  readonly payloads: Payload[]
  /** The entries of external_data. */
  readonly external: Span[]
  /** The marker, in an outline of our own. */
  marker: (Span & { readonly index: number }) | null
}

export interface Scan {
  /** The message without elements of tensors; each TensorProto carries its index in `tensors`. */
  readonly outline: Uint8Array
  readonly tensors: readonly TensorSite[]
  /** The entries of ModelProto.metadata_props. */
  readonly metadata: readonly ContentSpan[]
}

/** Whether markers are an error, as in a file, or meant, as in an outline that `serialize` wrote. */
export type MarkerPolicy = 'refuse' | 'collect'

/** Scans a whole source that holds one ModelProto. */
export async function scanModel(source: ByteSource, markers: MarkerPolicy): Promise<Scan> {
  const scanner = new Scanner(source, await Window.over(source), markers)
  return scanner.run()
}

/** A frame being read. Made for every message of a file, hence a class: objects put together by spread are slow. */
class OpenFrame implements Frame {
  readonly kind: MessageKind
  readonly parent: OpenFrame | null
  readonly depth: number
  readonly lengthAt: number
  readonly start: number
  readonly end: number
  /** Where its length goes in the outline. */
  readonly slot: number
  /** Set for a TensorProto. */
  site: TensorSite | null = null
  /** The fields of `single` that were seen, as bits. */
  singles = 0
  /** Field numbers of groups that are open, innermost last. */
  groups: number[] | null = null

  constructor(
    kind: MessageKind,
    parent: OpenFrame | null,
    slot: number,
    lengthAt: number,
    start: number,
    end: number,
  ) {
    this.kind = kind
    this.parent = parent
    this.depth = parent ? parent.depth + 1 : 0
    this.slot = slot
    this.lengthAt = lengthAt
    this.start = start
    this.end = end
  }
}

interface Field extends ContentSpan {
  readonly number: number
  readonly wireType: number
  readonly tag: number
  readonly tagEnd: number
}

class Scanner {
  readonly #source: ByteSource
  readonly #window: Window
  readonly #markers: MarkerPolicy
  readonly #outline: Outline
  readonly #tensors: TensorSite[] = []
  readonly #metadata: ContentSpan[] = []
  readonly #stack: OpenFrame[]
  #messageCount = 0
  #fieldCount = 0

  constructor(source: ByteSource, window: Window, markers: MarkerPolicy) {
    this.#source = source
    this.#window = window
    this.#markers = markers
    this.#outline = new Outline(source.name)
    this.#stack = [new OpenFrame('ModelProto', null, -1, 0, 0, source.byteLength)]
  }

  /** Waits only when bytes are missing: graphs have millions of fields, and nearly all are at hand. */
  async run(): Promise<Scan> {
    const window = this.#window
    let position = 0
    for (let frame = this.#stack.at(-1); frame; frame = this.#stack.at(-1)) {
      if (position === frame.end) {
        this.#leave(frame)
        continue
      }
      const head = Math.min(2 * VARINT_LIMIT, frame.end - position)
      if (!window.has(position, head)) await window.need(position, head)
      const field = this.#readField(frame, position)
      this.#count(frame, field)
      position = field.end
      switch (roleOf(frame, field)) {
        case 'message':
          position = this.#enter(frame, field)
          break
        case 'payload': {
          const length = field.end - field.contentStart
          if (length <= RESIDENT_LIMIT && !window.has(field.contentStart, length)) {
            await window.need(field.contentStart, length)
          }
          this.#keepPayload(frame.site!, field)
          break
        }
        case 'marker':
          this.#keepMarker(frame, field)
          break
        case 'group':
          this.#group(frame, field)
          await this.#copy(field)
          break
        case 'outline':
          if (window.has(field.start, field.end - field.start)) {
            this.#outline.append(window.view(field.start, field.end))
          } else await this.#copy(field)
      }
    }
    return { outline: this.#outline.bytes(), tensors: this.#tensors, metadata: this.#metadata }
  }

  async #copy(field: Field): Promise<void> {
    for (let at = field.start; at < field.end;) {
      const chunk = await this.#window.chunk(at, field.end)
      this.#outline.append(chunk)
      at += chunk.byteLength
    }
  }

  /** Reads a tag, and the length of a field of bytes; the field lies inside its message. */
  #readField(frame: OpenFrame, start: number): Field {
    const window = this.#window
    const tag = window.varint(start, frame.end)
    if (tag === null || tag.value < 8 || tag.value > 0xffffffff) {
      throw this.#damaged(start, frame, 'a field has no valid tag')
    }
    const number = Math.floor(tag.value / 8)
    const wireType = tag.value % 8
    let contentStart = tag.end
    let end = tag.end
    if (wireType === BYTES) {
      const length = window.varint(tag.end, frame.end)
      if (length === null) throw this.#damaged(start, frame, `field ${number} has no valid length`)
      contentStart = length.end
      end = length.end + length.value
    } else if (wireType === VARINT) {
      const varintEnd = window.skipVarint(tag.end, frame.end)
      if (varintEnd === null) throw this.#damaged(start, frame, `field ${number} has no valid number`)
      end = varintEnd
    } else if (wireType === FIXED64 || wireType === FIXED32) {
      end = tag.end + (wireType === FIXED64 ? 8 : 4)
    } else if (wireType !== GROUP_START && wireType !== GROUP_END) {
      throw this.#damaged(start, frame, `field ${number} has the unknown wire type ${wireType}`)
    }
    if (end > frame.end) {
      throw this.#damaged(start, frame, `field ${number} ends at byte ${end}, its message at ${frame.end}`)
    }
    return { start, end, contentStart, number, wireType, tag: tag.value, tagEnd: tag.end }
  }

  #enter(frame: OpenFrame, field: Field): number {
    const kind = SCHEMA[frame.kind].messages[field.number]!
    if (++this.#messageCount > MESSAGE_COUNT_LIMIT) throw this.#tooMuch(`${MESSAGE_COUNT_LIMIT} messages`)
    if (this.#stack.length > DEPTH_LIMIT) throw this.#tooMuch(`${DEPTH_LIMIT} messages inside one another`)
    if (SCHEMA[frame.kind].single?.includes(field.number)) {
      const bit = 1 << field.number
      if (frame.singles & bit) throw this.#damaged(field.start, frame, `field ${field.number} occurs twice`)
      frame.singles |= bit
    }
    if (frame.kind === 'ModelProto' && field.number === METADATA_FIELD) {
      this.#metadata.push({ ...spanOf(field), contentStart: field.contentStart })
    }
    if (frame.site && field.number === EXTERNAL_DATA_FIELD) frame.site.external.push(spanOf(field))
    const slot = this.#outline.openMessage(field.tag)
    const opened = new OpenFrame(kind, frame, slot, field.tagEnd, field.contentStart, field.end)
    if (kind === 'TensorProto') {
      opened.site = { frame: opened, payloads: [], external: [], marker: null }
      this.#outline.marker(this.#tensors.length)
      this.#tensors.push(opened.site)
    }
    this.#stack.push(opened)
    return field.contentStart
  }

  #leave(frame: OpenFrame): void {
    if (frame.groups?.length) throw this.#damaged(frame.end, frame, 'a group is not closed')
    if (frame.parent) this.#outline.closeMessage(frame.slot)
    this.#stack.pop()
  }

  /** Groups, an old way to nest, are no part of ONNX: they are unknown fields, to be kept as they are. */
  #group(frame: OpenFrame, field: Field): void {
    if (field.wireType === GROUP_START) {
      frame.groups ??= []
      frame.groups.push(field.number)
      if (frame.groups.length > DEPTH_LIMIT) throw this.#tooMuch(`${DEPTH_LIMIT} groups inside one another`)
    } else if (frame.groups?.pop() !== field.number) {
      throw this.#damaged(field.start, frame, `group ${field.number} ends but did not start`)
    }
  }

  /** Remembers elements; a run of single numbers becomes one payload. */
  #keepPayload(site: TensorSite, field: Field): void {
    const { number, wireType, end } = field
    const window = this.#window
    if (wireType === BYTES) {
      const { start, contentStart } = field
      const small = end - contentStart <= RESIDENT_LIMIT
      const bytes =
        window.resident(contentStart, end) ?? (small ? window.view(contentStart, end).slice() : null)
      site.payloads.push({ field: number, wireType, start, contentStart, end, bytes })
      return
    }
    const last = site.payloads.at(-1)
    const joins = last?.field === number && last.wireType === wireType && last.end === field.start
    const start = joins ? site.payloads.pop()!.start : field.start
    const bytes = window.resident(start, end)
    site.payloads.push({ field: number, wireType, start, contentStart: start, end, bytes })
  }

  #keepMarker(frame: OpenFrame, field: Field): void {
    const index = field.wireType === VARINT ? this.#window.varint(field.tagEnd, field.end) : null
    if (this.#markers === 'refuse' || index === null) {
      throw this.#damaged(field.start, frame, `field ${MARKER_FIELD} is reserved by protobuf`)
    }
    frame.site!.marker = { ...spanOf(field), index: index.value }
  }

  #count(frame: OpenFrame, field: Field): void {
    const isList = field.wireType === BYTES && SCHEMA[frame.kind].numbers?.includes(field.number)
    this.#fieldCount += isList ? field.end - field.contentStart : 1
    if (this.#fieldCount > FIELD_COUNT_LIMIT) throw this.#tooMuch(`${FIELD_COUNT_LIMIT} fields`)
  }

  #damaged(position: number, frame: Frame, what: string): InputError {
    const kind = frame.kind === 'Leaf' && frame.parent ? `an entry of ${frame.parent.kind}` : frame.kind
    const where = `${this.#source.name}: not a valid ONNX file: byte ${position}, in ${kind}`
    return new InputError(`${where}: ${what}`, {
      cure: 'the file is truncated, damaged or no ONNX model; copy or export it again',
    })
  }

  #tooMuch(what: string): InputError {
    return new InputError(`${this.#source.name}: not a reasonable ONNX file: more than ${what}`)
  }
}

/** What becomes of a field. Inside a group, whose fields mean nothing to us, all is outline. */
function roleOf(frame: OpenFrame, field: Field): 'message' | 'payload' | 'marker' | 'group' | 'outline' {
  if (field.wireType === GROUP_START || field.wireType === GROUP_END) return 'group'
  if (frame.groups?.length) return 'outline'
  if (frame.site && field.number in PAYLOAD_FIELDS) return 'payload'
  if (frame.site && field.number === MARKER_FIELD) return 'marker'
  return field.wireType === BYTES && field.number in SCHEMA[frame.kind].messages ? 'message' : 'outline'
}

function spanOf({ start, end }: Span): Span {
  return { start, end }
}
