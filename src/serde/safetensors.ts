/**
 * safetensors files: named tensors behind a JSON header. Source: README.md of huggingface/safetensors, the format's
 * specification. Reading checks every promise of the header before anything is allocated for it.
 */

import { openSource } from '../remote/index.ts'
import { InputError } from '../util/errors.ts'
import { AtomicFile, type WrittenFile } from '../util/files.ts'
import { byteLengthOf, type DType } from '../tensor/dtype.ts'
import { formatShape, sizeOf, type Shape } from '../tensor/shape.ts'
import type { ByteSource } from '../tensor/source.ts'
import { Tensor } from '../tensor/tensor.ts'
import { DTYPE_OF_SAFETENSORS, parseHeader, PREFIX_BYTES } from './safetensors-header.ts'
import { resumed } from './external-layout.ts'
import {
  bytesSegment,
  elementsOf,
  rangeSegment,
  writeSegments,
  type Journal,
  type Segment,
} from './segment.ts'

export interface Safetensors {
  /** In the order of their bytes; not in memory until they are asked for. */
  readonly tensors: ReadonlyMap<string, Tensor>
  readonly metadata: ReadonlyMap<string, string>
  close(): Promise<void>
}

/** A tensor to be written, or what is needed to stream one. */
export type SafetensorsContent =
  Tensor | { readonly dtype: DType; readonly dims: Shape; readonly source: ByteSource }

/** Opens a path or URL; the tensors are ranges of it until `close`. */
export async function openSafetensors(location: string): Promise<Safetensors> {
  const source = await openSource(location)
  try {
    const { entries, metadata, dataStart } = await parseHeader(source)
    const tensors = new Map<string, Tensor>()
    for (const { name, dtype, dims, begin, end } of entries) {
      tensors.set(name, new Tensor(dtype, dims, { source, offset: dataStart + begin, length: end - begin }))
    }
    return { tensors, metadata, close: () => source.close() }
  } catch (error) {
    await source.close()
    throw error
  }
}

const SAFETENSORS_OF_DTYPE = new Map([...DTYPE_OF_SAFETENSORS].map(([name, dtype]) => [dtype, name]))

export interface WriteOptions {
  /** Whether SHA-256 of the file is taken. */
  readonly checksum?: boolean
  /** Of an unfinished file to go on with. */
  readonly journal?: Journal | undefined
  /** Called when everything is written, before the file takes its name; an error keeps the old one. */
  readonly check?: () => Promise<unknown>
}

/**
 * Writes a file atomically. The same tensors give the same bytes in whatever order they come: wide element types first,
 * so that all are aligned, then by name in UTF-8 order; metadata by key. The data starts at a multiple of 8.
 */
export async function writeSafetensors(
  path: string,
  entries: Iterable<readonly [string, SafetensorsContent]>,
  metadata: ReadonlyMap<string, string> = new Map(),
  { checksum = false, journal, check }: WriteOptions = {},
): Promise<WrittenFile> {
  const rows = [...entries].map(([name, content]) => toRow(path, name, content))
  rows.sort((a, b) => b.width - a.width || compareUtf8(a.name, b.name))
  const head = encodeHeader(path, rows, metadata)
  const file = await AtomicFile.create(path, { checksum, ...resumed(journal) })
  try {
    await writeSegments([bytesSegment(head), ...rows.map(row => row.segment)], file, journal)
    await check?.()
  } catch (error) {
    await file.abort()
    throw error
  }
  return file.commit()
}

/** The length of the header and the header, padded so that the data start at a multiple of 8. */
function encodeHeader(path: string, rows: readonly Row[], metadata: ReadonlyMap<string, string>): Uint8Array {
  const header = new Map<string, unknown>()
  if (metadata.size > 0) header.set('__metadata__', Object.fromEntries([...metadata].sort(byKey)))
  let offset = 0
  for (const { name, type, dims, segment } of rows) {
    if (header.has(name)) throw new InputError(`write ${path}: two tensors are named "${name}"`)
    header.set(name, { dtype: type, shape: dims, data_offsets: [offset, (offset += segment.byteLength)] })
  }
  const json = Buffer.from(stringify(header))
  const length = Math.ceil((PREFIX_BYTES + json.byteLength) / 8) * 8 - PREFIX_BYTES
  const head = Buffer.alloc(PREFIX_BYTES + length, ' ')
  head.writeBigUInt64LE(BigInt(length))
  head.set(json, PREFIX_BYTES)
  return head
}

interface Row {
  readonly name: string
  readonly type: string
  readonly dims: Shape
  readonly width: number
  readonly segment: Segment
}

function toRow(path: string, name: string, content: SafetensorsContent): Row {
  const { dtype, dims } = content
  const type = SAFETENSORS_OF_DTYPE.get(dtype)
  const where = `write ${path}: tensor "${name}" ${dtype}${formatShape(dims)}`
  if (type === undefined) throw new InputError(`${where}: safetensors has no such element type`)
  if (name === '__metadata__') throw new InputError(`${where}: this name is reserved`)
  const expected = byteLengthOf(dtype, sizeOf(dims))
  const segment = segmentOf(content)
  if (segment.byteLength !== expected) {
    throw new InputError(`${where}: expected ${expected} bytes, found ${segment.byteLength}`)
  }
  return { name, type, dims, width: byteLengthOf(dtype, 1), segment }
}

function segmentOf(content: SafetensorsContent): Segment {
  if (!(content instanceof Tensor)) {
    const { source } = content
    return rangeSegment({ source, offset: 0, length: source.byteLength })
  }
  return elementsOf(content)
}

/** JSON of a map in its own order: an object would move names that look like numbers to the front. */
function stringify(header: ReadonlyMap<string, unknown>): string {
  return `{${[...header].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`
}

function byKey(a: readonly [string, string], b: readonly [string, string]): number {
  return compareUtf8(a[0], b[0])
}

function compareUtf8(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}
