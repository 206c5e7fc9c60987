/** What the numbers of a tensor give away: masks and sine tables are made, not learned. */

import { DTYPES } from '../tensor/dtype.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** Larger tensors are not looked at; a made table of that size would be computed, not stored. */
const LOOKED_AT_BYTES = 16 << 20

/** The elements of a tensor, read from the file if need be; null where they are too many, or of a tiny float type. */
async function numbersOf(tensor: Tensor): Promise<number[] | null> {
  if (tensor.byteLength > LOOKED_AT_BYTES || DTYPES[tensor.dtype].bits < 16) return null
  return (await tensor.load()).toNumbers()
}

/** Above this magnitude a negative number switches something off; nothing learned is as large. */
const SWITCHED_OFF = -1e3

/** Both of 0 and 1, or both of 0 and minus "infinity", and nothing else. */
export async function isMask(tensor: Tensor): Promise<boolean> {
  const seen = new Set<number>()
  for (const value of (await numbersOf(tensor)) ?? []) {
    seen.add(value)
    if (seen.size > 2) return false
  }
  if (seen.size !== 2 || !seen.has(0)) return false
  return seen.has(1) || [...seen].some(value => value <= SWITCHED_OFF)
}

/** Whether every element is `number`. */
export async function isFilledWith(tensor: Tensor, number: number): Promise<boolean> {
  return (await numbersOf(tensor))?.every(value => value === number) ?? false
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
