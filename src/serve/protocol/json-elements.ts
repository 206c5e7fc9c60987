/**
 * JSON data of one tensor, nested or flat in row-major order, straight into packed elements. Numbers are rounded once, to
 * the nearest double and from it to the tensor's type; integers keep all their digits.
 */

import { DATATYPES, elementBytes, type Datatype } from './datatypes.ts'
import { invalid, quoted, type ServeError } from './errors.ts'
import { decodeText, type DataSpan } from './json-scan.ts'
import { sizeOf } from '../../tensor/shape.ts'
import { Tensor, type TypedArray } from '../../tensor/tensor.ts'

const INTEGER_RANGE: Partial<Record<Datatype, readonly [bigint, bigint]>> = {
  BOOL: [0n, 1n],
  UINT8: [0n, 255n],
  UINT16: [0n, 65535n],
  UINT32: [0n, 4294967295n],
  UINT64: [0n, 18446744073709551615n],
  INT8: [-128n, 127n],
  INT16: [-32768n, 32767n],
  INT32: [-2147483648n, 2147483647n],
  INT64: [-9223372036854775808n, 9223372036854775807n],
}

/** Powers of ten that a double holds exactly. */
const TENS = Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`))

/** The tensor of a `data` value. */
export function tensorOfJson(
  bytes: Uint8Array,
  span: DataSpan,
  datatype: Datatype,
  dims: readonly number[],
  where: string,
): Tensor {
  const reader = new ElementReader(bytes, span, dims, where)
  const dtype = DATATYPES[datatype]
  if (dtype === 'string') return new Tensor(dtype, dims, reader.readStrings())
  const data = new Uint8Array(sizeOf(dims) * elementBytes(datatype))
  const tensor = new Tensor(dtype, dims, data)
  reader.readInto(tensor.view(), datatype)
  return tensor
}

class ElementReader {
  readonly #bytes: Uint8Array
  readonly #end: number
  readonly #dims: readonly number[]
  readonly #size: number
  readonly #where: string
  #at: number
  #count = 0

  constructor(bytes: Uint8Array, span: DataSpan, dims: readonly number[], where: string) {
    this.#bytes = bytes
    this.#at = span.start
    this.#end = span.end
    this.#dims = dims
    this.#size = sizeOf(dims)
    this.#where = where
  }

  readInto(array: TypedArray, datatype: Datatype): void {
    const store = this.#storeOf(array, datatype)
    this.#walk(() => {
      const start = this.#at
      while (this.#at < this.#end && IN_WORD[this.#bytes[this.#at]!]) this.#at++
      if (this.#at === start) {
        throw this.#bytes[start] === 0x22 ? this.#bad('expected a number', start) : this.#malformed()
      }
      store(start, this.#at, this.#count)
    })
  }

  readStrings(): Uint8Array[] {
    const strings: Uint8Array[] = []
    const encoder = new TextEncoder()
    this.#walk(() => {
      const start = this.#at
      if (this.#bytes[start] !== 0x22) throw this.#bad('expected a string', start)
      this.#at++
      while (this.#at < this.#end && this.#bytes[this.#at] !== 0x22) {
        this.#at += this.#bytes[this.#at] === 0x5c ? 2 : 1
      }
      this.#at++
      if (this.#at > this.#end) throw this.#malformed()
      const text = decodeText(this.#bytes.subarray(start, this.#at), this.#where)
      const value = parseString(text)
      // Half of a surrogate pair has no bytes in UTF-8.
      if (value === null || /\p{Surrogate}/u.test(value)) throw this.#bad('expected a string', start)
      strings.push(encoder.encode(value))
    })
    return strings
  }

  /**
   * Goes through the arrays; `element` consumes one element. Data is flat, or nested exactly as the shape says. Elements
   * are counted, so that the tensor is never overrun.
   */
  #walk(element: () => void): void {
    const bytes = this.#bytes
    const counts: number[] = []
    let leafDepth = -1
    let wantsValue = true
    for (;;) {
      while (this.#at < this.#end && WHITE[bytes[this.#at]!]) this.#at++
      if (this.#at >= this.#end) break
      const byte = bytes[this.#at]!
      if (byte === 0x5b) {
        if (!wantsValue) throw this.#malformed()
        if (counts.length > 0) counts[counts.length - 1]!++
        counts.push(0)
        if (counts.length > Math.max(1, this.#dims.length)) {
          throw this.#shape(`nested ${counts.length} deep`)
        }
        this.#at++
      } else if (byte === 0x5d) {
        const count = counts.pop()
        if (count === undefined || (wantsValue && count > 0)) throw this.#malformed()
        const level = counts.length
        if ((leafDepth > 1 || level > 0) && count !== this.#dims[level]) {
          throw this.#shape(`an array of ${count} at depth ${level + 1}`)
        }
        wantsValue = false
        this.#at++
      } else if (byte === 0x2c) {
        if (wantsValue || counts.length === 0) throw this.#malformed()
        wantsValue = true
        this.#at++
      } else {
        if (!wantsValue) throw this.#malformed()
        if (leafDepth === -1) leafDepth = counts.length
        else if (leafDepth !== counts.length) throw this.#shape('elements at different depths')
        if (leafDepth > 1 && leafDepth !== this.#dims.length) throw this.#shape(`nested ${leafDepth} deep`)
        if (counts.length > 0) counts[counts.length - 1]!++
        if (this.#count >= this.#size) throw this.#shape(`more than ${this.#size} elements`)
        element()
        this.#count++
        wantsValue = false
      }
    }
    if (counts.length > 0 || wantsValue) throw this.#malformed()
    if (leafDepth === 0) throw this.#shape('no array')
    if (this.#count !== this.#size) throw this.#shape(`${this.#count} elements`)
  }

  #storeOf(array: TypedArray, datatype: Datatype): (start: number, end: number, index: number) => void {
    const range = INTEGER_RANGE[datatype]
    if (range === undefined) {
      const target = array as Float32Array
      const most = datatype === 'FP32' ? 3.4028235677973366e38 : Infinity
      return (start, end, index) => {
        const value = this.#number(start, end)
        if (!(Math.abs(value) < most)) throw this.#bad(`expected a number in the range of ${datatype}`, start)
        target[index] = value
      }
    }
    const [least, most] = range
    const wide = array instanceof BigInt64Array || array instanceof BigUint64Array
    const whole = (start: number, end: number): number | bigint => {
      if (datatype === 'BOOL' && this.#bytes[start]! > 0x39) {
        const word = this.#word(start, end)
        if (word !== 'true' && word !== 'false') throw this.#bad('expected true or false', start)
        return word === 'true' ? 1 : 0
      }
      if (end - start > 15) {
        const word = this.#word(start, end)
        if (INTEGER.test(word)) return BigInt(word)
      }
      const value = this.#number(start, end)
      if (!Number.isInteger(value)) throw this.#bad(`expected a whole number for ${datatype}`, start)
      return value
    }
    return (start, end, index) => {
      const value = whole(start, end)
      if (value < least || value > most) {
        throw this.#bad(`expected a number from ${least} to ${most} for ${datatype}`, start)
      }
      if (wide) array[index] = BigInt(value)
      else array[index] = Number(value)
    }
  }

  /**
   * A JSON number. Up to 15 digits and ten to at most 22: both are exact doubles, so one operation rounds once (Clinger,
   * 1990); all others by the runtime.
   */
  #number(start: number, end: number): number {
    const bytes = this.#bytes
    let i = start
    const negative = bytes[i] === 0x2d
    if (negative) i++
    const first = i
    let mantissa = 0
    let digits = 0
    let scale = 0
    for (; i < end; i++) {
      const digit = bytes[i]! - 0x30
      if (digit < 0 || digit > 9) break
      mantissa = mantissa * 10 + digit
      digits++
    }
    const leadingZero = bytes[first] === 0x30 && i - first > 1
    if (digits > 0 && !leadingZero && bytes[i] === 0x2e && i + 1 < end) {
      for (i++; i < end; i++) {
        const digit = bytes[i]! - 0x30
        if (digit < 0 || digit > 9) break
        mantissa = mantissa * 10 + digit
        digits++
        scale++
      }
      if (scale === 0) throw this.#bad('expected a number', start)
    }
    if (i === end && digits > 0 && digits <= 15 && !leadingZero) {
      const value = mantissa / TENS[scale]!
      return negative ? -value : value
    }
    const word = this.#word(start, end)
    if (!NUMBER.test(word)) throw this.#bad('expected a number', start)
    return Number(word)
  }

  #word(start: number, end: number): string {
    if (end - start > LONGEST) throw this.#bad(`expected a number of at most ${LONGEST} characters`, start)
    let word = ''
    for (let i = start; i < end; i++) word += String.fromCharCode(this.#bytes[i]!)
    return word
  }

  #bad(expected: string, start: number): ServeError {
    const found = this.#word(start, Math.min(this.#end, start + 24)).replace(/[,\]\s].*$/s, '')
    return invalid(`${this.#where}: data[${this.#count}]: ${expected}, found ${quoted(found)}`)
  }

  #shape(found: string): ServeError {
    return invalid(
      `${this.#where}: expected data for shape [${this.#dims.join(',')}] (${this.#size} elements, flat or nested), found ${found}`,
    )
  }

  #malformed(): ServeError {
    return invalid(`${this.#where}: data is not well-formed JSON after element ${this.#count}`)
  }
}

/** All digits of any double fit in; so that no text of megabytes is made of one. */
const LONGEST = 1100

function parseString(text: string): string | null {
  try {
    return JSON.parse(text) as string
  } catch {
    return null
  }
}

/** White space of JSON: blank, tab, line feed, carriage return. */
const WHITE = Uint8Array.from({ length: 256 }, (_, byte) => ([0x20, 0x09, 0x0a, 0x0d].includes(byte) ? 1 : 0))

const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/
const INTEGER = /^-?(?:0|[1-9]\d*)$/

/** Bytes of numbers and words. */
const IN_WORD = Uint8Array.from({ length: 256 }, (_, byte) =>
  /[0-9A-Za-z+.\-_]/.test(String.fromCharCode(byte)) && byte < 128 ? 1 : 0,
)
