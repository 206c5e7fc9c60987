/** NumPy's array file. Source: numpy/lib/format.py, "Format Version 1.0" to "3.0". Numeric dtypes, and text for names. */

import { formatShape, sizeOf, stridesOf, type Shape } from '../tensor/shape.ts'
import { InputError, UnsupportedError } from '../util/errors.ts'
import { decodeElements, isElementType, widthOf, type Elements } from './elements.ts'

export interface NpyHeader {
  /** As NumPy writes it: byte order, kind, bytes, e.g. `<f4`. */
  readonly descr: string
  readonly fortranOrder: boolean
  readonly dims: Shape
  /** Where the elements start. */
  readonly dataOffset: number
}

export interface NpyArray {
  readonly dims: Shape
  /** Row-major numbers, or the texts of a string array. */
  readonly data: Elements | readonly string[]
  readonly integer: boolean
}

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59] // \x93NUMPY

/** Whether the bytes start as an npy file does. */
export function isNpy(bytes: Uint8Array): boolean {
  return MAGIC.every((byte, i) => bytes[i] === byte)
}

/** Reads the header; `where` names the file in messages. */
export function readNpyHeader(bytes: Uint8Array, where: string): NpyHeader {
  if (!isNpy(bytes)) {
    const start = Buffer.from(bytes.subarray(0, 6)).toString('hex')
    throw new InputError(`${where}: expected the npy magic 934e554d5059, found ${start || 'nothing'}`)
  }
  const version = bytes[6] ?? 0
  if (version < 1 || version > 3)
    throw new UnsupportedError(`${where}: npy version ${version}, expected 1 to 3`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const start = version === 1 ? 10 : 12
  if (bytes.length < start) throw new InputError(`${where}: the npy header is cut at byte ${bytes.length}`)
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true)
  if (start + length > bytes.length)
    throw new InputError(
      `${where}: the npy header needs ${start + length} bytes, the file has ${bytes.length}`,
    )
  const text = Buffer.from(bytes.subarray(start, start + length)).toString(version === 3 ? 'utf8' : 'latin1')
  return { ...parseHeader(text, where), dataOffset: start + length }
}

/** The array of an npy file. The bytes may be used as they are: do not change them afterwards. */
export function decodeNpy(bytes: Uint8Array, where: string): NpyArray {
  const { descr, fortranOrder, dims, dataOffset } = readNpyHeader(bytes, where)
  const [order, code] = [descr.charAt(0), descr.slice(1)]
  const body = bytes.subarray(dataOffset)
  const count = sizeOf(dims)
  const checkLength = (width: number) => {
    if (body.length === count * width) return
    const need = `${descr} ${formatShape(dims)} needs ${count * width} bytes`
    throw new InputError(`${where}: npy ${need}, found ${body.length}`)
  }
  if (isElementType(code)) {
    checkLength(widthOf(code))
    const { data, integer } = decodeElements(body, code, order !== '>')
    return { dims, integer, data: fortranOrder ? rowMajor(data, dims) : data }
  }
  const [, kind, characters] = /^([US])(\d+)$/.exec(code) ?? []
  if (kind === undefined) throw new UnsupportedError(`${where}: npy dtype ${explain(descr)}`)
  const width = Number(characters) * (kind === 'U' ? 4 : 1)
  checkLength(width)
  const texts = decodeTexts(body, count, width, kind === 'U', order === '>')
  return { dims, integer: false, data: fortranOrder ? rowMajor(texts, dims) : texts }
}

function explain(descr: string): string {
  const kind = descr.charAt(1)
  if (kind === 'O') return `${descr} (Python objects, i.e. pickled code) is refused; save plain numbers`
  if (kind === 'c') return `${descr} (complex) is not supported`
  if (kind === 'V') return `${descr} (raw bytes or bfloat16) is not supported; save float32`
  return `'${descr}' is not supported, expected bool, int, uint, float16, float32 or float64`
}

/** The header is a Python dict of three known keys; anything else is refused rather than evaluated. */
function parseHeader(text: string, where: string): Omit<NpyHeader, 'dataOffset'> {
  const body = /^\{(.*)\}\s*$/s.exec(text)?.[1]
  if (body === undefined) throw new InputError(`${where}: npy header is not a dict: ${text.trim()}`)
  if (/['"]descr['"]\s*:\s*\[/.test(body))
    throw new UnsupportedError(`${where}: npy dtype is structured (a table with named columns)`, {
      cure: 'save each column as an array of its own',
    })
  const pair = /\s*['"](\w+)['"]\s*:\s*(?:['"]([^'"]*)['"]|(True|False)|\(([\dL,\s]*)\))\s*(?:,|$)/y
  const found = new Map<string, string>()
  while (pair.lastIndex < body.trimEnd().length) {
    const at = pair.lastIndex
    const match = pair.exec(body)
    if (!match) throw new InputError(`${where}: npy header is malformed near: ${body.slice(at, at + 40)}`)
    const [, key, string, bool, tuple] = match
    if (found.has(key!)) throw new InputError(`${where}: npy header has '${key!}' twice`)
    found.set(key!, string ?? bool ?? `(${tuple!}`)
  }
  const keys = [...found.keys()].sort().join(', ')
  if (keys !== 'descr, fortran_order, shape')
    throw new InputError(`${where}: npy header has keys ${keys}, expected descr, fortran_order, shape`)
  const [descr, order, shape] = ['descr', 'fortran_order', 'shape'].map(key => found.get(key)!)
  if (!/^[<>|=]\w+$/.test(descr!) || !/^(?:True|False)$/.test(order!) || !shape!.startsWith('('))
    throw new InputError(`${where}: npy header has values of the wrong kind: ${text.trim()}`)
  const dims = shape!
    .slice(1)
    .split(',')
    .map(part => part.trim().replace(/L$/, ''))
    .filter(part => part !== '')
    .map(Number)
  if (!dims.every(Number.isSafeInteger) || !Number.isSafeInteger(sizeOf(dims) * 8))
    throw new InputError(`${where}: npy shape ${shape!}) is malformed or too large`)
  return { descr: descr!.replace('=', '<'), fortranOrder: order === 'True', dims }
}

/** Column-major to row-major. */
function rowMajor<T extends Elements | readonly string[]>(data: T, dims: Shape): T {
  if (dims.length < 2) return data
  const target = data.slice() as { [index: number]: unknown }
  const strides = stridesOf([...dims].reverse()).reverse() // of the stored order
  const index = new Array<number>(dims.length).fill(0)
  let source = 0
  for (let i = 0; i < data.length; i++) {
    target[i] = data[source]
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      source += strides[axis]!
      if (++index[axis]! < dims[axis]!) break
      source -= strides[axis]! * dims[axis]!
      index[axis] = 0
    }
  }
  return target as T
}

/** Fixed-width texts, padded with NUL: UCS-4 (`U`) or bytes (`S`). */
function decodeTexts(
  bytes: Uint8Array,
  count: number,
  width: number,
  wide: boolean,
  bigEndian: boolean,
): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Array.from({ length: count }, (_, i) => {
    const start = i * width
    if (!wide)
      return Buffer.from(bytes.subarray(start, start + width))
        .toString('utf8')
        .replace(/\0+$/, '')
    const points = Array.from({ length: width / 4 }, (_, j) => view.getUint32(start + 4 * j, !bigEndian))
    return points
      .filter(point => point > 0 && point <= 0x10ffff)
      .map(point => String.fromCodePoint(point))
      .join('')
  })
}
