/**
 * Reads members of a zip archive by position, as `np.savez` and `torch.save` write them. Source: PKWARE APPNOTE 6.3.10,
 * sections 4.3 (structure), 4.5.3 (zip64 extra field). Sizes and checksums are verified; nothing is skipped.
 */

import { promisify } from 'node:util'
import { crc32, inflateRaw as inflateRawWithCallback } from 'node:zlib'
import type { ByteRange, ByteSource } from '../tensor/source.ts'
import { InputError, messageOf, UnsupportedError } from '../util/errors.ts'

const inflateRaw = promisify(inflateRawWithCallback)

export interface ZipEntry {
  readonly name: string
  readonly method: number
  readonly packedSize: number
  readonly size: number
  readonly crc32: number
  readonly headerOffset: number
}

const END = 0x06054b50
const END64_LOCATOR = 0x07064b50
const END64 = 0x06064b50
const CENTRAL = 0x02014b50
const LOCAL = 0x04034b50
const END_SIZE = 22
const LONGEST_COMMENT = 0xffff
/** Deflate cannot pack more than 1032 to 1 (zlib technical notes), so a larger claim is a lie. */
const LARGEST_RATIO = 1032

const DAMAGED = { cure: 'the file is truncated or damaged; write or download it again' }

/** The directory of an archive, in file order. */
export async function readZipDirectory(source: ByteSource): Promise<ZipEntry[]> {
  const { count, offset, size } = await readEnd(source)
  const bytes = await source.read(offset, size)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const entries: ZipEntry[] = []
  const names = new Set<string>()
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + 46 > size || view.getUint32(at, true) !== CENTRAL)
      throw new InputError(`${source.name}: zip directory entry ${i} of ${count} is damaged`, DAMAGED)
    const nameLength = view.getUint16(at + 28, true)
    const extraLength = view.getUint16(at + 30, true)
    const next = at + 46 + nameLength + extraLength + view.getUint16(at + 32, true)
    if (next > size)
      throw new InputError(`${source.name}: zip directory entry ${i} of ${count} is damaged`, DAMAGED)
    const name = Buffer.from(bytes.subarray(at + 46, at + 46 + nameLength)).toString('utf8')
    const where = `${source.name}[${name}]`
    if (names.has(name)) throw new InputError(`${where}: the zip archive holds this name twice`)
    names.add(name)
    if (view.getUint16(at + 8, true) & 1) throw new UnsupportedError(`${where}: encrypted zip member`)
    const extra = bytes.subarray(at + 46 + nameLength, at + 46 + nameLength + extraLength)
    entries.push({ name, ...readSizes(view, at, extra, where) })
    at = next
  }
  return entries
}

/** Where the bytes of a member lie that is stored as it is. Its checksum is not looked at. */
export async function locateZipEntry(source: ByteSource, entry: ZipEntry): Promise<ByteRange> {
  const where = `${source.name}[${entry.name}]`
  if (entry.method !== 0 || entry.packedSize !== entry.size)
    throw new UnsupportedError(`${where}: zip method ${entry.method}, expected 0 (stored)`)
  const offset = await startOf(source, entry)
  if (offset + entry.size > source.byteLength)
    throw new InputError(
      `${where}: expected ${entry.size} bytes from byte ${offset} on, the file has ${source.byteLength}`,
      DAMAGED,
    )
  return { source, offset, length: entry.size }
}

/** The place behind the local header of a member. */
async function startOf(source: ByteSource, entry: ZipEntry): Promise<number> {
  const header = await source.read(entry.headerOffset, 30)
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength)
  if (view.getUint32(0, true) !== LOCAL) {
    const where = `${source.name}[${entry.name}]`
    throw new InputError(`${where}: no zip member at byte ${entry.headerOffset}`, DAMAGED)
  }
  return entry.headerOffset + 30 + view.getUint16(26, true) + view.getUint16(28, true)
}

/** The unpacked bytes of a member. */
export async function readZipEntry(source: ByteSource, entry: ZipEntry): Promise<Uint8Array> {
  const where = `${source.name}[${entry.name}]`
  const packed = await source.read(await startOf(source, entry), entry.packedSize)
  const bytes = await unpack(packed, entry, where)
  if (bytes.length !== entry.size)
    throw new InputError(`${where}: expected ${entry.size} bytes, unpacked ${bytes.length}`, DAMAGED)
  const sum = crc32(bytes)
  if (sum !== entry.crc32)
    throw new InputError(`${where}: checksum is ${hex(sum)}, expected ${hex(entry.crc32)}`, DAMAGED)
  return bytes
}

async function unpack(packed: Uint8Array, entry: ZipEntry, where: string): Promise<Uint8Array> {
  if (entry.method === 0) return packed
  if (entry.method !== 8)
    throw new UnsupportedError(`${where}: zip method ${entry.method}, expected 0 (stored) or 8 (deflate)`)
  if (entry.size > entry.packedSize * LARGEST_RATIO + LARGEST_RATIO)
    throw new InputError(`${where}: ${entry.packedSize} packed bytes cannot hold ${entry.size}`, DAMAGED)
  try {
    return await inflateRaw(packed, { maxOutputLength: Math.max(entry.size, 1) })
  } catch (error) {
    throw new InputError(`${where}: deflate: ${messageOf(error)}`, { cause: error, ...DAMAGED })
  }
}

/** Finds the end record: the last 22 bytes unless a comment follows. */
async function readEnd(source: ByteSource): Promise<{ count: number; offset: number; size: number }> {
  const tail = Math.min(source.byteLength, END_SIZE + LONGEST_COMMENT)
  const base = source.byteLength - tail
  const bytes = await source.read(base, tail)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let at = tail - END_SIZE; at >= 0; at--) {
    if (view.getUint32(at, true) !== END || at + END_SIZE + view.getUint16(at + 20, true) !== tail) continue
    const end = {
      count: view.getUint16(at + 10, true),
      size: view.getUint32(at + 12, true),
      offset: view.getUint32(at + 16, true),
    }
    const wide = end.count === 0xffff || end.size === 0xffffffff || end.offset === 0xffffffff
    return wide ? readEnd64(source, base + at - 20) : end
  }
  throw new InputError(`${source.name}: expected a zip archive, found no end record`, DAMAGED)
}

async function readEnd64(source: ByteSource, locatorOffset: number) {
  const locator = Buffer.from(await source.read(locatorOffset, 20))
  if (locator.readUInt32LE(0) !== END64_LOCATOR)
    throw new InputError(`${source.name}: the zip64 locator is missing`, DAMAGED)
  const end = Buffer.from(await source.read(Number(locator.readBigUInt64LE(8)), 56))
  if (end.readUInt32LE(0) !== END64)
    throw new InputError(`${source.name}: the zip64 end record is missing`, DAMAGED)
  return {
    count: Number(end.readBigUInt64LE(32)),
    size: Number(end.readBigUInt64LE(40)),
    offset: Number(end.readBigUInt64LE(48)),
  }
}

/** Sizes and place of a member; values of 0xffffffff stand in the zip64 extra field (id 1), in this order. */
function readSizes(view: DataView, at: number, extra: Uint8Array, where: string): Omit<ZipEntry, 'name'> {
  const wide: number[] = []
  const fields = new DataView(extra.buffer, extra.byteOffset, extra.byteLength)
  for (let i = 0; i + 4 <= extra.length;) {
    const length = fields.getUint16(i + 2, true)
    if (fields.getUint16(i, true) === 1) {
      for (let j = i + 4; j + 8 <= Math.min(i + 4 + length, extra.length); j += 8)
        wide.push(Number(fields.getBigUint64(j, true)))
    }
    i += 4 + length
  }
  const field = (offset: number): number => {
    const narrow = view.getUint32(at + offset, true)
    if (narrow !== 0xffffffff) return narrow
    const value = wide.shift()
    if (value === undefined) throw new InputError(`${where}: the zip64 sizes are missing`, DAMAGED)
    return value
  }
  const size = field(24)
  const packedSize = field(20)
  const headerOffset = field(42)
  return {
    method: view.getUint16(at + 10, true),
    crc32: view.getUint32(at + 16, true),
    size,
    packedSize,
    headerOffset,
  }
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`
}
