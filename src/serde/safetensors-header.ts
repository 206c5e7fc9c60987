/** The header of a safetensors file, checked: no hole, overlap, trailing byte, duplicate name or wrong length. */

import { InputError, messageOf } from '../util/errors.ts'
import { byteLengthOf, type DType } from '../tensor/dtype.ts'
import { formatShape, sizeOf } from '../tensor/shape.ts'
import type { ByteSource } from '../tensor/source.ts'

/** The little-endian length of the header. */
export const PREFIX_BYTES = 8

/** The bound of the reference implementation. */
const HEADER_LIMIT = 100_000_000

export const DTYPE_OF_SAFETENSORS: ReadonlyMap<string, DType> = new Map([
  ['F64', 'float64'],
  ['F32', 'float32'],
  ['F16', 'float16'],
  ['BF16', 'bfloat16'],
  ['I64', 'int64'],
  ['I32', 'int32'],
  ['I16', 'int16'],
  ['I8', 'int8'],
  ['U64', 'uint64'],
  ['U32', 'uint32'],
  ['U16', 'uint16'],
  ['U8', 'uint8'],
  ['BOOL', 'bool'],
  ['F8_E4M3', 'float8e4m3fn'],
  ['F8_E5M2', 'float8e5m2'],
])

export interface HeaderEntry {
  readonly name: string
  readonly dtype: DType
  readonly dims: readonly number[]
  /** Range within the data that follows the header. */
  readonly begin: number
  readonly end: number
}

export interface Header {
  /** In the order of their bytes. */
  readonly entries: readonly HeaderEntry[]
  readonly metadata: ReadonlyMap<string, string>
  readonly dataStart: number
}

export async function parseHeader(source: ByteSource): Promise<Header> {
  const fail = (what: string): never => {
    throw new InputError(`${source.name}: not a valid safetensors file: ${what}`, {
      cure: 'the file is truncated, damaged or of another format; copy or write it again',
    })
  }
  if (source.byteLength < PREFIX_BYTES) fail(`${source.byteLength} bytes are too few for a header`)
  const prefix = Buffer.from(await source.read(0, PREFIX_BYTES))
  const stated = prefix.readBigUInt64LE()
  if (stated > HEADER_LIMIT) fail(`a header of ${stated} bytes exceeds ${HEADER_LIMIT}`)
  const length = Number(stated)
  const dataStart = PREFIX_BYTES + length
  if (dataStart > source.byteLength) {
    fail(`a header of ${length} bytes does not fit into ${source.byteLength}`)
  }
  const text = decode(await source.read(PREFIX_BYTES, length), fail)
  const json = parseObject(text, fail)
  const metadata = readMetadata(json['__metadata__'], fail)
  const entries = Object.entries(json)
    .filter(([name]) => name !== '__metadata__')
    .map(([name, value]) => readEntry(name, value, fail))
    .sort((a, b) => a.begin - b.begin || a.end - b.end)
  let position = 0
  for (const { name, begin, end } of entries) {
    if (begin !== position) fail(`tensor "${name}" starts at byte ${begin} of the data, expected ${position}`)
    position = end
  }
  const size = source.byteLength - dataStart
  if (position !== size) fail(`its tensors end at byte ${position} of the data, which has ${size}`)
  return { entries, metadata, dataStart }
}

type Fail = (what: string) => never

function decode(bytes: Uint8Array, fail: Fail): string {
  if (bytes[0] !== 0x7b) fail('the header does not start with {')
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch (error) {
    return fail(messageOf(error))
  }
}

function parseObject(text: string, fail: Fail): Record<string, unknown> {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    fail(messageOf(error))
  }
  const twice = duplicateKey(text)
  if (twice !== null) fail(`the header has the key ${twice} twice`)
  return json as Record<string, unknown> // it starts with {
}

/** A key that occurs twice in one object of well-formed JSON; JSON.parse would silently keep the later value. */
function duplicateKey(text: string): string | null {
  const open: Set<string>[] = []
  for (let at = 0; at < text.length; at++) {
    if (text[at] === '{') open.push(new Set())
    else if (text[at] === '}') open.pop()
    else if (text[at] === '"') {
      const start = at
      for (at++; text[at] !== '"'; at++) if (text[at] === '\\') at++
      let next = at + 1
      while (/\s/.test(text[next]!)) next++
      if (text[next] !== ':') continue
      const name = JSON.parse(text.slice(start, at + 1)) as string // "a" and "\u0061" are one key
      const keys = open.at(-1)!
      if (keys.has(name)) return text.slice(start, at + 1)
      keys.add(name)
    }
  }
  return null
}

function readMetadata(value: unknown, fail: Fail): Map<string, string> {
  if (value === undefined) return new Map()
  if (!isObject(value) || Object.values(value).some(text => typeof text !== 'string')) {
    fail('__metadata__ is not a map of strings')
  }
  return new Map(Object.entries(value as Record<string, string>))
}

function readEntry(name: string, value: unknown, fail: Fail): HeaderEntry {
  const where = `tensor "${name}"`
  if (!isObject(value)) fail(`${where} is not described by an object`)
  const { dtype: type, shape, data_offsets: offsets, ...others } = value
  const unknown = Object.keys(others)[0]
  if (unknown !== undefined) fail(`${where} has the unknown key "${unknown}"`)
  const dtype = typeof type === 'string' ? DTYPE_OF_SAFETENSORS.get(type) : undefined
  if (dtype === undefined) return fail(`${where} has the unsupported dtype ${JSON.stringify(type)}`)
  if (!isSizes(shape)) return fail(`${where} has the impossible shape ${JSON.stringify(shape)}`)
  if (!isSizes(offsets) || offsets.length !== 2) {
    return fail(`${where} has the impossible data_offsets ${JSON.stringify(offsets)}`)
  }
  const [begin, end] = offsets as [number, number]
  const expected = byteLengthOf(dtype, sizeOf(shape))
  if (end - begin !== expected) {
    fail(
      `${where} ${dtype}${formatShape(shape)} needs ${expected} bytes, its data_offsets span ${end - begin}`,
    )
  }
  return { name, dtype, dims: shape, begin, end }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(size => Number.isSafeInteger(size) && Number(size) >= 0)
}
