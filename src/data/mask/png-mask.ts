/**
 * The stored numbers of PNG files of one channel: palette indices and grey levels as they are, where image libraries give
 * colours. Source: the PNG specification (W3C, third edition), sections 5, 7.3 and 9.
 */

import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { crc32, inflate as inflateWithCallback } from 'node:zlib'
import { InputError, messageOf } from '../../util/errors.ts'
import type { ImageSize } from '../dataset.ts'

/** A number for each pixel, row by row. */
export interface PngLevels extends ImageSize {
  readonly levels: Uint8Array | Uint16Array
}

interface Header extends ImageSize {
  /** 1, 2, 4, 8 or 16. */
  readonly bits: number
}

const inflate = promisify(inflateWithCallback)
const SIGNATURE = 0x89504e47
const MOST_PIXELS = 2 ** 28
/** Colour types of one channel; the names are for messages. */
const COLOR_TYPES = ['grey', , 'RGB', 'palette', 'grey with alpha', , 'RGB with alpha'] as const
const DAMAGED = { cure: 'write the file again' }
const SAVE_AS = { cure: 'save it as an 8-bit grey, 16-bit grey or palette PNG whose numbers are the classes' }

/** Reads a PNG file of one channel, inflated in the background. */
export async function readPngLevels(path: string): Promise<PngLevels> {
  try {
    return await decodePngLevels(await readFile(path))
  } catch (error) {
    const cure = error instanceof InputError ? error.cure : undefined
    throw new InputError(`mask ${path}: ${messageOf(error)}`, { cause: error, ...(cure ? { cure } : {}) })
  }
}

/** Decodes a PNG of one channel. */
export async function decodePngLevels(bytes: Uint8Array): Promise<PngLevels> {
  const { header, data } = readChunks(bytes)
  const { height, width, bits } = header
  const pitch = Math.ceil((width * bits) / 8)
  const expected = height * (pitch + 1)
  const lines = await inflate(data, { maxOutputLength: expected + 1 }).catch((error: unknown) => {
    throw new InputError(`its compressed pixels are damaged: ${messageOf(error)}`, {
      cause: error,
      ...DAMAGED,
    })
  })
  if (lines.length !== expected)
    throw new InputError(`its pixels are ${lines.length} bytes, expected ${expected}`, DAMAGED)
  unfilter(lines, height, pitch, Math.max(1, bits / 8))
  return { height, width, levels: unpack(lines, header, pitch) }
}

/** The header and the compressed pixels; every length is checked, and every checksum. */
function readChunks(bytes: Uint8Array): { header: Header; data: Uint8Array } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (bytes.length < 8 || view.getUint32(0) !== SIGNATURE) throw new InputError('it is no PNG file', SAVE_AS)
  let header: Header | null = null
  const parts: Uint8Array[] = []
  for (let at = 8; at + 12 <= bytes.length;) {
    const length = view.getUint32(at)
    const end = at + 8 + length
    if (end + 4 > bytes.length) break
    const type = Buffer.from(bytes.subarray(at + 4, at + 8)).toString('latin1')
    if (crc32(bytes.subarray(at + 4, end)) !== view.getUint32(end))
      throw new InputError(`the checksum of its ${type} chunk is wrong`, DAMAGED)
    if (header === null) header = readHeader(type, bytes.subarray(at + 8, end))
    else if (type === 'IDAT') parts.push(bytes.subarray(at + 8, end))
    else if (type === 'IEND') return { header, data: Buffer.concat(parts) }
    at = end + 4
  }
  throw new InputError('the file is cut off', DAMAGED)
}

function readHeader(type: string, chunk: Uint8Array): Header {
  if (type !== 'IHDR' || chunk.length !== 13) throw new InputError('its header is missing', DAMAGED)
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  const [width, height, bits] = [view.getUint32(0), view.getUint32(4), view.getUint8(8)]
  const [color, interlace] = [view.getUint8(9), view.getUint8(12)]
  if (color !== 0 && color !== 3)
    throw new InputError(
      `expected one channel of classes, found ${COLOR_TYPES[color] ?? `colour type ${color}`}`,
      SAVE_AS,
    )
  if (width < 1 || height < 1 || width * height > MOST_PIXELS || ![1, 2, 4, 8, 16].includes(bits))
    throw new InputError(`its header says ${width}x${height} pixels of ${bits} bits`, DAMAGED)
  if (interlace !== 0)
    throw new InputError('it is interlaced, which is not read', { cure: 'save it without interlacing' })
  return { height, width, bits }
}

/** Takes the filters back in place: each line begins with the number of its filter. */
function unfilter(lines: Uint8Array, height: number, pitch: number, step: number): void {
  for (let y = 0; y < height; y++) {
    const start = y * (pitch + 1) + 1
    const restore = FILTERS[lines[start - 1]!]
    if (restore === undefined)
      throw new InputError(`line ${y} has the unknown filter ${lines[start - 1]!}`, DAMAGED)
    restore(lines, start, start + pitch, step, y === 0 ? 0 : pitch + 1)
  }
}

/** None, Sub, Up, Average, Paeth; `up` is the distance to the line above, 0 for the first one. */
const FILTERS: readonly ((
  lines: Uint8Array,
  start: number,
  end: number,
  step: number,
  up: number,
) => void)[] = [
  () => undefined,
  (lines, start, end, step) => {
    for (let i = start + step; i < end; i++) lines[i]! += lines[i - step]!
  },
  (lines, start, end, _, up) => {
    if (up > 0) for (let i = start; i < end; i++) lines[i]! += lines[i - up]!
  },
  (lines, start, end, step, up) => {
    for (let i = start; i < end; i++) {
      const left = i - step < start ? 0 : lines[i - step]!
      lines[i]! += (left + (up > 0 ? lines[i - up]! : 0)) >> 1
    }
  },
  (lines, start, end, step, up) => {
    for (let i = start; i < end; i++) {
      const first = i - step < start
      const left = first ? 0 : lines[i - step]!
      const above = up > 0 ? lines[i - up]! : 0
      lines[i]! += paeth(left, above, first || up === 0 ? 0 : lines[i - up - step]!)
    }
  },
]

/** Whichever of left, above and upper left is nearest to left + above - upper left. */
function paeth(left: number, above: number, corner: number): number {
  const a = Math.abs(above - corner)
  const b = Math.abs(left - corner)
  const c = Math.abs(left + above - 2 * corner)
  return a <= b && a <= c ? left : b <= c ? above : corner
}

/** Pixels of less than a byte lie from its high bits down; those of two bytes are big-endian. */
function unpack(lines: Uint8Array, { height, width, bits }: Header, pitch: number): Uint8Array | Uint16Array {
  const levels = bits === 16 ? new Uint16Array(height * width) : new Uint8Array(height * width)
  const perByte = 8 / bits
  const mask = 2 ** Math.min(bits, 8) - 1
  for (let y = 0, to = 0; y < height; y++) {
    const start = y * (pitch + 1) + 1
    if (bits === 8) levels.set(lines.subarray(start, start + width), to)
    else if (bits === 16)
      for (let x = 0; x < width; x++)
        levels[to + x] = (lines[start + 2 * x]! << 8) | lines[start + 2 * x + 1]!
    else
      for (let x = 0; x < width; x++) {
        const shift = 8 - bits - (x % perByte) * bits
        levels[to + x] = (lines[start + Math.floor(x / perByte)]! >> shift) & mask
      }
    to += width
  }
  return levels
}
