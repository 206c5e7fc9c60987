/** The growing outline of a scanned file. */

import { InputError } from '../util/errors.ts'
import { formatBytes } from '../util/format.ts'
import { OUTLINE_LIMIT } from './limits.ts'
import { MARKER_FIELD } from './schema.ts'
import { encodeTag, encodeVarint, PADDED_VARINT, VARINT, writePaddedVarint } from './wire.ts'

const MARKER_TAG = encodeTag(MARKER_FIELD, VARINT)

export class Outline {
  readonly #name: string
  #bytes = new Uint8Array(1 << 16)
  #length = 0

  /** `name` of the file, for messages. */
  constructor(name: string) {
    this.#name = name
  }

  append(bytes: Uint8Array): void {
    const length = this.#length + bytes.byteLength
    if (length > this.#bytes.byteLength) {
      if (length > OUTLINE_LIMIT) {
        throw new InputError(
          `${this.#name}: not a reasonable ONNX file: more than ${formatBytes(OUTLINE_LIMIT)} besides its weights`,
        )
      }
      const grown = new Uint8Array(Math.max(length, Math.min(this.#bytes.byteLength * 2, OUTLINE_LIMIT)))
      grown.set(this.bytes())
      this.#bytes = grown
    }
    this.#bytes.set(bytes, this.#length)
    this.#length = length
  }

  /** Writes the tag and a place for the length, which is known only once weights were left out; gives the place. */
  openMessage(tag: number): number {
    this.append(encodeVarint(tag))
    const slot = this.#length
    this.append(new Uint8Array(PADDED_VARINT))
    return slot
  }

  closeMessage(slot: number): void {
    writePaddedVarint(this.#bytes, slot, this.#length - slot - PADDED_VARINT)
  }

  /** Names, inside a TensorProto, the place of its elements. */
  marker(index: number): void {
    this.append(MARKER_TAG)
    this.append(encodeVarint(index))
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }
}
