/**
 * Reads the JSON of an inference request without making objects of its tensors. One pass over the bytes finds the values
 * of `inputs[i].data`; what is left is small and goes through JSON.parse, with the number of its place where each of them
 * stood. So a request takes no more memory than its bytes and its tensors, and no nesting can be deep.
 */

import { invalid } from './errors.ts'

/** A `data` value: bytes from `start` up to `end`. */
export interface DataSpan {
  readonly start: number
  readonly end: number
}

export interface ScannedJson {
  /** The request; `data` of an input is an index into `spans`. */
  readonly value: unknown
  readonly spans: readonly DataSpan[]
}

export interface ScanLimits {
  /** Bytes of JSON beside tensor data. */
  readonly headerBytes: number
  /** Arrays and objects in each other. */
  readonly depth: number
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const COLON = 0x3a
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** `bytes` as UTF-8; anything else is the client's error. */
export function decodeText(bytes: Uint8Array, what: string): string {
  try {
    return utf8.decode(bytes)
  } catch {
    throw invalid(`${what}: expected UTF-8, found other bytes`)
  }
}

export function scanRequest(bytes: Uint8Array, limits: ScanLimits): ScannedJson {
  const spans = new Scanner(bytes, limits.depth).findData()
  const cut = spans.reduce((sum, { start, end }) => sum + end - start, 0)
  const rest = bytes.byteLength - cut
  if (rest > limits.headerBytes) {
    throw invalid(
      `the request has ${rest} bytes of JSON beside tensor data, the most is ${limits.headerBytes}`,
    )
  }
  return { value: parse(withoutData(bytes, spans)), spans }
}

function withoutData(bytes: Uint8Array, spans: readonly DataSpan[]): string {
  let from = 0
  const parts: string[] = []
  spans.forEach(({ start, end }, i) => {
    parts.push(decodeText(bytes.subarray(from, start), 'request JSON'), String(i))
    from = end
  })
  parts.push(decodeText(bytes.subarray(from), 'request JSON'))
  return parts.join('')
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw invalid('failed to parse the request JSON: it is not well-formed')
  }
}

/** Only looks for the way to `data`; whether the rest is well-formed is seen when it is parsed. */
class Scanner {
  readonly #bytes: Uint8Array
  readonly #depth: number
  #at = 0

  constructor(bytes: Uint8Array, depth: number) {
    this.#bytes = bytes
    this.#depth = depth
  }

  findData(): DataSpan[] {
    const spans: DataSpan[] = []
    this.#members(key => {
      if (key === 'inputs' && this.#peek() === OPEN_ARRAY) this.#elements(() => this.#input(spans))
      else this.#skipValue()
    })
    return spans
  }

  #input(spans: DataSpan[]): void {
    if (this.#peek() !== OPEN_OBJECT) {
      this.#skipValue()
      return
    }
    this.#members(name => {
      const start = this.#at
      this.#skipValue()
      if (name === 'data') spans.push({ start, end: this.#at })
    })
  }

  /** The members of an object; `member` consumes the value. Stops where it is no object. */
  #members(member: (key: string) => void): void {
    if (this.#peek() !== OPEN_OBJECT) return
    this.#at++
    while (this.#peek() === QUOTE) {
      const key = this.#string()
      if (this.#peek() !== COLON) return
      this.#at++
      this.#peek()
      member(key)
      if (this.#peek() !== COMMA) break
      this.#at++
    }
    if (this.#peek() === CLOSE_OBJECT) this.#at++
  }

  #elements(element: () => void): void {
    this.#at++
    while (this.#peek() !== CLOSE_ARRAY && this.#at < this.#bytes.length) {
      const before = this.#at
      element()
      if (this.#peek() === COMMA) this.#at++
      else if (this.#peek() !== CLOSE_ARRAY || this.#at === before) return
    }
    if (this.#peek() === CLOSE_ARRAY) this.#at++
  }

  /** Skips white space; the byte that follows, or -1. */
  #peek(): number {
    const bytes = this.#bytes
    while (this.#at < bytes.length && bytes[this.#at]! <= 0x20) this.#at++
    return bytes[this.#at] ?? -1
  }

  #string(): string {
    const start = this.#at + 1
    this.#skipString()
    const text = this.#bytes.subarray(start, this.#at - 1)
    if (text.length > 256) return ''
    if (!text.includes(BACKSLASH)) return Buffer.from(text).toString('latin1')
    try {
      return JSON.parse(`"${Buffer.from(text).toString('latin1')}"`) as string
    } catch {
      return ''
    }
  }

  #skipString(): void {
    const bytes = this.#bytes
    let i = this.#at + 1
    while (i < bytes.length && bytes[i] !== QUOTE) i += bytes[i] === BACKSLASH ? 2 : 1
    if (i >= bytes.length) throw invalid('failed to parse the request JSON: a string does not end')
    this.#at = i + 1
  }

  /** A whole value; brackets are counted, which kind they are is seen by who reads them. */
  #skipValue(): void {
    const bytes = this.#bytes
    let depth = 0
    for (;;) {
      const byte = this.#peek()
      if (byte === -1) throw invalid('failed to parse the request JSON: it ends too early')
      if (byte === QUOTE) this.#skipString()
      else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
        this.#at++
        if (++depth > this.#depth) {
          throw invalid(`failed to parse the request JSON: it is nested deeper than ${this.#depth}`)
        }
        continue
      } else if (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) {
        // The end of what this value lies in.
        if (depth === 0) return
        this.#at++
        depth--
      } else if (byte === COMMA || byte === COLON) {
        if (depth === 0) return
        this.#at++
        continue
      } else {
        // A number or a word.
        while (this.#at < bytes.length && !ENDS_WORD[bytes[this.#at]!]) this.#at++
      }
      if (depth === 0) return
    }
  }
}

const ENDS_WORD = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte <= 0x20 || [QUOTE, COMMA, COLON, OPEN_ARRAY, CLOSE_ARRAY, OPEN_OBJECT, CLOSE_OBJECT].includes(byte)
    ? 1
    : 0,
)
