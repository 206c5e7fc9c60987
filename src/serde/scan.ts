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
import { BYTES, FIXED32, FIXED64, GROUP_END, GROUP_START, VARINT } from './wire.ts'

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

interface OpenFrame extends Frame {
  /** Where its length goes in the outline. */
  readonly slot: number
  /** Set for a TensorProto. */
  readonly site: TensorSite | null
  /** The fields of `single` that were seen, as bits. */
  singles: number
  /** Field numbers of groups that are open, innermost last. */
  groups: number[]
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
    this.#stack = [
      {
        ...{ kind: 'ModelProto', parent: null, depth: 0, lengthAt: 0, start: 0, end: source.byteLength },
        ...{ slot: -1, site: null, singles: 0, groups: [] },
      },
    ]
  }

  async run(): Promise<Scan> {
    let position = 0
    for (let frame = this.#stack.at(-1); frame; frame = this.#stack.at(-1)) {
      if (position < frame.end) {
        const field = await this.#readField(frame, position)
        position = await this.#take(frame, field)
      } else {
        if (frame.groups.length > 0) throw this.#damaged(position, frame, 'a group is not closed')
        if (frame.parent) this.#outline.closeMessage(frame.slot)
        this.#stack.pop()
      }
    }
    return { outline: this.#outline.bytes(), tensors: this.#tensors, metadata: this.#metadata }
  }

  /** Reads a tag, and the length of a field of bytes; the field lies inside its message. */
  async #readField(frame: OpenFrame, start: number): Promise<Field> {
    const window = this.#window
    await window.need(start, Math.min(20, frame.end - start)) // two varints
    const tag = window.varint(start, frame.end)
    if (tag === null || tag.value < 8 || tag.value > 0xffffffff) {
      throw this.#damaged(start, frame, 'a field has no valid tag')
    }
    const [number, wireType] = [Math.floor(tag.value / 8), tag.value % 8]
    const common = { start, number, wireType, tag: tag.value, tagEnd: tag.end, contentStart: tag.end }
    const ends = (end: number): Field => {
      if (end <= frame.end) return { ...common, end }
      throw this.#damaged(start, frame, `field ${number} ends at byte ${end}, its message at ${frame.end}`)
    }
    switch (wireType) {
      case VARINT: {
        const end = window.skipVarint(tag.end, frame.end)
        if (end === null) throw this.#damaged(start, frame, `field ${number} has no valid number`)
        return { ...common, end }
      }
      case BYTES: {
        const length = window.varint(tag.end, frame.end)
        if (length === null) throw this.#damaged(start, frame, `field ${number} has no valid length`)
        return { ...ends(length.end + length.value), contentStart: length.end }
      }
      case FIXED64:
        return ends(tag.end + 8)
      case FIXED32:
        return ends(tag.end + 4)
      case GROUP_START:
      case GROUP_END:
        return { ...common, end: tag.end }
      default:
        throw this.#damaged(start, frame, `field ${number} has the unknown wire type ${wireType}`)
    }
  }

  /** Decides what a field is, and gives the position to go on from. */
  async #take(frame: OpenFrame, field: Field): Promise<number> {
    const schema = SCHEMA[frame.kind]
    const inGroup = frame.groups.length > 0
    const isGroup = field.wireType === GROUP_START || field.wireType === GROUP_END
    const isList = field.wireType === BYTES && schema.numbers?.includes(field.number)
    this.#count(isList ? field.end - field.contentStart : 1)
    if (isGroup) this.#group(frame, field)
    else if (!inGroup && frame.site && field.number in PAYLOAD_FIELDS) {
      await this.#keepPayload(frame.site, field)
      return field.end
    } else if (!inGroup && frame.site && field.number === MARKER_FIELD) {
      this.#keepMarker(frame, frame.site, field)
      return field.end
    } else if (!inGroup && field.wireType === BYTES) {
      const child = schema.messages[field.number]
      if (child !== undefined) return this.#enter(frame, field, child)
    }
    for (let at = field.start; at < field.end;) {
      const chunk = await this.#window.chunk(at, field.end)
      this.#outline.append(chunk)
      at += chunk.byteLength
    }
    return field.end
  }

  #enter(frame: OpenFrame, field: Field, kind: MessageKind): number {
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
    const opened: Frame = {
      ...{ kind, parent: frame, depth: this.#stack.length },
      ...{ lengthAt: field.tagEnd, start: field.contentStart, end: field.end },
    }
    let site: TensorSite | null = null
    if (kind === 'TensorProto') {
      site = { frame: opened, payloads: [], external: [], marker: null }
      this.#outline.marker(this.#tensors.length)
      this.#tensors.push(site)
    }
    this.#stack.push({ ...opened, slot, site, singles: 0, groups: [] })
    return field.contentStart
  }

  /** Groups, an old way to nest, are no part of ONNX: they are unknown fields, to be kept as they are. */
  #group(frame: OpenFrame, field: Field): void {
    if (field.wireType === GROUP_START) {
      frame.groups.push(field.number)
      if (frame.groups.length > DEPTH_LIMIT) throw this.#tooMuch(`${DEPTH_LIMIT} groups inside one another`)
    } else if (frame.groups.pop() !== field.number) {
      throw this.#damaged(field.start, frame, `group ${field.number} ends but did not start`)
    }
  }

  /** Remembers elements; a run of single numbers becomes one payload. */
  async #keepPayload(site: TensorSite, field: Field): Promise<void> {
    const { number, wireType, end } = field
    const last = site.payloads.at(-1)
    const joins =
      wireType !== BYTES && last?.field === number && last.wireType === wireType && last.end === field.start
    if (joins) site.payloads.pop()
    const start = joins ? last.start : field.start
    const contentStart = wireType === BYTES ? field.contentStart : start
    const place = { field: number, wireType, start, contentStart, end }
    let bytes = this.#window.resident(contentStart, end)
    if (bytes === null && end - contentStart <= RESIDENT_LIMIT)
      bytes = await this.#window.copy(contentStart, end)
    site.payloads.push({ ...place, bytes })
  }

  #keepMarker(frame: OpenFrame, site: TensorSite, field: Field): void {
    const index = field.wireType === VARINT ? this.#window.varint(field.tagEnd, field.end) : null
    if (this.#markers === 'refuse' || index === null) {
      throw this.#damaged(field.start, frame, `field ${MARKER_FIELD} is reserved by protobuf`)
    }
    site.marker = { ...spanOf(field), index: index.value }
  }

  #count(fields: number): void {
    this.#fieldCount += fields
    if (this.#fieldCount > FIELD_COUNT_LIMIT) throw this.#tooMuch(`${FIELD_COUNT_LIMIT} fields`)
  }

  #damaged(position: number, frame: Frame, what: string): InputError {
    const where = `${this.#source.name}: not a valid ONNX file: byte ${position}, in ${frame.kind}`
    return new InputError(`${where}: ${what}`, {
      cure: 'the file is truncated, damaged or no ONNX model; copy or export it again',
    })
  }

  #tooMuch(what: string): InputError {
    return new InputError(`${this.#source.name}: not a reasonable ONNX file: more than ${what}`)
  }
}

function spanOf({ start, end }: Span): Span {
  return { start, end }
}
