/**
 * The transpose of a matrix that is made while it is read, such as a mean: the bytes of [columns, rows] from a source of
 * [rows, columns]. The source is read once, in bands of whole rows. A small result is kept in memory; a large one goes to a
 * temporary file beside the output, in which each band lies transposed, so that a range of the result is one piece of each
 * band. One result is kept at a time, whatever the number of matrices: at most 40 MiB together with the band under way.
 */

import { invariant } from '../util/errors.ts'
import { AtomicFile } from '../util/files.ts'
import { checkRange, type ByteSource } from '../tensor/source.ts'

/** Bytes of a band; a row that is longer is a band of its own, copied in pieces. */
const BAND = 4 << 20
/** Bytes of a result that is kept in memory. */
const SMALL = 32 << 20

export interface MatrixShape {
  readonly rows: number
  readonly columns: number
  /** Bytes of one element. */
  readonly width: number
}

/** Where results are kept until the next one is made. */
interface Result {
  read(offset: number, length: number): Promise<Uint8Array>
  close(): Promise<void>
}

export interface TransposerLimits {
  readonly band?: number
  readonly small?: number
}

/** Transposes the matrices of one output file. */
export class Transposer {
  readonly #path: string
  readonly #band: number
  readonly #small: number
  #owner: ByteSource | null = null
  #result: Result | null = null
  /** Reads take turns: the next matrix takes the place of the one before. */
  #turn: Promise<unknown> = Promise.resolve()

  /** `path`: the output; temporary files lie beside it. */
  constructor(path: string, { band = BAND, small = SMALL }: TransposerLimits = {}) {
    this.#path = path
    this.#band = band
    this.#small = small
  }

  /** The transpose of `source`, made at the first read and again when another one was read in between. */
  transpose(source: ByteSource, shape: MatrixShape): ByteSource {
    const { byteLength } = source
    invariant(
      byteLength === shape.rows * shape.columns * shape.width,
      `${source.name}: not the matrix it should be`,
    )
    const transposed: ByteSource = {
      name: `transpose of ${source.name}`,
      byteLength,
      read: (offset, length) => {
        checkRange(transposed, offset, length)
        const turn = this.#turn.then(async () => {
          if (this.#owner !== source) await this.#make(source, shape)
          return this.#result!.read(offset, length)
        })
        this.#turn = turn.catch(() => undefined)
        return turn
      },
      close: () => source.close(),
    }
    return transposed
  }

  /** Gives up the result that is kept; its temporary file goes. */
  async close(): Promise<void> {
    const result = this.#result
    this.#owner = null
    this.#result = null
    await result?.close()
  }

  async #make(source: ByteSource, shape: MatrixShape): Promise<void> {
    await this.close()
    // A row that is longer than a band would be read at once.
    const small = source.byteLength <= this.#small && shape.columns * shape.width <= this.#band
    this.#result = await (small
      ? inMemory(source, shape, this.#band)
      : inFile(source, shape, this.#band, this.#path))
    this.#owner = source
  }
}

/** Rows of a band, at least one. */
function bandRows({ rows, columns, width }: MatrixShape, band: number): number {
  return Math.max(1, Math.min(rows, Math.floor(band / Math.max(1, columns * width))))
}

async function inMemory(source: ByteSource, shape: MatrixShape, band: number): Promise<Result> {
  const { rows, columns, width } = shape
  const bytes = new Uint8Array(source.byteLength)
  const step = bandRows(shape, band)
  for (let first = 0; first < rows && columns > 0; first += step) {
    const count = Math.min(step, rows - first)
    const given = await source.read(first * columns * width, count * columns * width)
    scatter(given, bytes, { rows: count, columns, width }, { offset: first, stride: rows })
  }
  return {
    read: (offset, length) => Promise.resolve(bytes.subarray(offset, offset + length)),
    close: () => Promise.resolve(),
  }
}

async function inFile(source: ByteSource, shape: MatrixShape, band: number, path: string): Promise<Result> {
  const { rows, columns, width } = shape
  const step = bandRows(shape, band)
  const file = await AtomicFile.create(path)
  try {
    for (let first = 0; first < rows; first += step) {
      const count = Math.min(step, rows - first)
      const [start, length] = [first * columns * width, count * columns * width]
      if (count === 1) {
        for (let at = 0; at < length; at += band) {
          await file.write(await source.read(start + at, Math.min(band, length - at)))
        }
        continue
      }
      const turned = new Uint8Array(length)
      const given = await source.read(start, length)
      scatter(given, turned, { rows: count, columns, width }, { offset: 0, stride: count })
      await file.write(turned)
    }
  } catch (error) {
    await file.abort()
    throw error
  }
  return { read: bandReader(file, shape, step), close: () => file.abort() }
}

/** Reads ranges of the result from a file of transposed bands of `step` columns of the result each. */
function bandReader(file: AtomicFile, { rows, columns, width }: MatrixShape, step: number): Result['read'] {
  /** Elements `from` to `to` of the result's rows `first` to `first + count`, into `elements`. */
  const readPart = async (elements: Uint8Array, first: number, count: number, from: number, to: number) => {
    const length = to - from
    for (let start = Math.floor(from / step) * step; start < to; start += step) {
      const wide = Math.min(step, rows - start)
      const [low, high] = [Math.max(from, start), Math.min(to, start + wide)]
      // One row of the result may be wanted in part; of several rows all elements are.
      const skip = count === 1 ? low - start : 0
      const piece = new Uint8Array((count === 1 ? high - low : count * wide) * width)
      await readFully(file, piece, (start * columns + first * wide + skip) * width)
      const line = (high - low) * width
      for (let row = 0; row < count; row++) {
        elements.set(piece.subarray(row * line, (row + 1) * line), (row * length + low - from) * width)
      }
    }
  }
  return async (offset, length) => {
    const [first, end] = [Math.floor(offset / width), Math.ceil((offset + length) / width)]
    const bytes = new Uint8Array((end - first) * width)
    let at = first
    while (at < end) {
      const [row, column] = [Math.floor(at / rows), at % rows]
      const whole = column === 0 ? Math.floor((end - at) / rows) : 0
      const count = Math.max(1, whole)
      const to = whole > 0 ? rows : Math.min(rows, column + end - at)
      await readPart(bytes.subarray((at - first) * width), row, count, column, to)
      at += count * (to - column)
    }
    return bytes.subarray(offset - first * width, offset - first * width + length)
  }
}

async function readFully({ handle, path }: AtomicFile, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0
  while (done < bytes.byteLength) {
    const { bytesRead } = await handle.read(bytes, done, bytes.byteLength - done, position + done)
    invariant(bytesRead > 0, `the temporary file beside ${path} became shorter`)
    done += bytesRead
  }
}

/** Elements as whole numbers, which keep the bits of a NaN; those of 8 and 16 bytes as several. */
const WORDS = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array } as const

function wordsOf({ buffer, byteOffset, byteLength }: Uint8Array, word: 1 | 2 | 4) {
  return new WORDS[word](buffer as ArrayBuffer, byteOffset, byteLength / word)
}

/** Rows and columns of a square that stays in the cache of the processor. */
const TILE = 32

/** Writes element (i, j) of `given` to place `j * stride + offset + i` of `target`. */
function scatter(
  given: Uint8Array,
  target: Uint8Array,
  { rows, columns, width }: MatrixShape,
  { offset, stride }: { offset: number; stride: number },
): void {
  const word = width < 4 ? (width as 1 | 2) : 4
  const parts = width / word
  const from = wordsOf(given.byteOffset % word === 0 ? given : given.slice(), word)
  const to = wordsOf(target, word)
  for (let top = 0; top < rows; top += TILE) {
    const bottom = Math.min(rows, top + TILE)
    for (let left = 0; left < columns; left += TILE) {
      const right = Math.min(columns, left + TILE)
      for (let i = top; i < bottom; i++) {
        for (let j = left; j < right; j++) {
          const source = (i * columns + j) * parts
          const place = (j * stride + offset + i) * parts
          for (let part = 0; part < parts; part++) to[place + part] = from[source + part]!
        }
      }
    }
  }
}
