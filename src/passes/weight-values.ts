/** What the numbers of a tensor give away: masks and sine tables are made, not learned. */

import { DTYPES } from '../tensor/dtype.ts'
import { Tensor } from '../tensor/tensor.ts'

/** Larger tensors are not looked at; a made table of that size would be computed, not stored. */
const LOOKED_AT_BYTES = 16 << 20

/** The elements of a tensor, read from the file if need be; null where they are too many, or of a tiny float type. */
async function numbersOf(tensor: Tensor): Promise<number[] | null> {
  if (tensor.byteLength > LOOKED_AT_BYTES || DTYPES[tensor.dtype].bits < 16) return null
  return (await tensor.load()).toNumbers()
}

/** The elements at the start of a tensor; none of a tiny float type. */
async function firstNumbersOf(tensor: Tensor, count: number): Promise<number[]> {
  const { dtype, data, size } = tensor
  const { bits } = DTYPES[dtype]
  if (bits < 16) return []
  const length = Math.min(count, size)
  const bytes = (length * bits) / 8
  const start =
    'source' in data ? await data.source.read(data.offset, bytes) : (data as Uint8Array).subarray(0, bytes)
  return new Tensor(dtype, [length], start).toNumbers()
}

/** Above this magnitude a negative number switches something off; nothing learned is as large. */
const SWITCHED_OFF = -1e3

/** From so many elements on, two numbers in a tensor are no accident. */
const MANY = 16

/** Both of 0 and 1, both of 0 and minus "infinity", or in many elements both of 0 and one other number. */
export async function isMask(tensor: Tensor): Promise<boolean> {
  const seen = new Set<number>()
  for (const value of (await numbersOf(tensor)) ?? []) {
    seen.add(value)
    if (seen.size > 2) return false
  }
  if (seen.size !== 2 || !seen.has(0)) return false
  return seen.has(1) || tensor.size >= MANY || [...seen].some(value => value <= SWITCHED_OFF)
}

/** Whether every element is `number`. */
export async function isFilledWith(tensor: Tensor, number: number): Promise<boolean> {
  return (await numbersOf(tensor))?.every(value => value === number) ?? false
}

/** So many elements of the start tell; more of 16 bits would repeat whatever they are. */
const SAMPLE = 1024

/** The learned factors of a layer are all different; of coordinates and fixed filters each occurs this often. */
const REPEATS = 4

/** Whether the numbers that are not zero are few and come again and again, as those of a grid or a fixed filter. */
export async function isRepetitive(tensor: Tensor): Promise<boolean> {
  if (tensor.size < MANY) return false
  const numbers = (await firstNumbersOf(tensor, SAMPLE)).filter(value => value !== 0)
  const distinct = new Set(numbers).size
  return distinct > 1 && distinct * REPEATS <= numbers.length
}

/** Whether all elements are the same number. */
export async function isUniform(tensor: Tensor): Promise<boolean> {
  const [first, ...rest] = (await numbersOf(tensor)) ?? [NaN]
  return rest.every(value => value === first) && !Number.isNaN(first)
}

const TOLERANCE = 2e-3

/**
 * A table of sines and cosines of the position, as in fixed position embeddings. Every column c of such a table obeys
 * `v[p+1] + v[p-1] = 2 cos(w) v[p]`, which learned numbers do not.
 */
export async function isSineTable(tensor: Tensor): Promise<boolean> {
  const dims = tensor.dims.filter(dim => dim > 1)
  const [rows, columns] = [dims[0] ?? 0, dims[1] ?? 0]
  if (dims.length !== 2 || rows < 8 || columns < 2) return false
  const values = await numbersOf(tensor)
  if (!values || values.some(value => !(Math.abs(value) <= 1 + TOLERANCE))) return false
  const at = (row: number, column: number) => values[row * columns + column]!
  let turning = 0
  for (let column = 0; column < columns; column++) {
    let product = 0
    let square = 0
    for (let row = 1; row < rows - 1; row++) {
      product += at(row, column) * (at(row - 1, column) + at(row + 1, column))
      square += at(row, column) ** 2
    }
    const twiceCos = square === 0 ? 0 : product / square
    for (let row = 1; row < rows - 1; row++) {
      const rest = at(row - 1, column) + at(row + 1, column) - twiceCos * at(row, column)
      if (Math.abs(rest) > TOLERANCE) return false
    }
    if (square > 0 && Math.abs(twiceCos) < 1.9) turning++
  }
  return turning > 0
}

/** As far as float32 holds a progression, and the elements that make one no accident. */
const STEADY = 1e-5
const LONG = 8

/**
 * Whether eight elements or more climb or fall by one difference or one factor: positions, the slopes of ALiBi, the
 * frequencies of rotary embeddings. Learned numbers do not.
 */
export async function isProgression(tensor: Tensor): Promise<boolean> {
  const values = await numbersOf(tensor)
  if (!values || values.length < LONG) return false
  const steps = values.slice(1).map((value, i) => value - values[i]!)
  const factors = values.slice(1).map((value, i) => value / values[i]!)
  return isSteady(steps, 0) || isSteady(factors, 1)
}

/** Whether all numbers are the first one, which is not `idle`. */
function isSteady(numbers: readonly number[], idle: number): boolean {
  const first = numbers[0]!
  const close = (number: number) => Math.abs(number - first) <= STEADY * Math.abs(first)
  return Math.abs(first - idle) > STEADY && numbers.every(close)
}
