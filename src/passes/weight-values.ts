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

/** Share of the rows of a sine table that follow the rows around them: positions of a grid jump at the end of each line. */
const MOSTLY_WAVES = 0.6

/**
 * A table of sines and cosines of the position, as in fixed position embeddings, whatever one number it was multiplied
 * by. Every column c of such a table obeys `v[p+1] + v[p-1] = 2 cos(w) v[p]`, which learned numbers do not.
 */
export async function isSineTable(tensor: Tensor): Promise<boolean> {
  const dims = tensor.dims.filter(dim => dim > 1)
  const [rows, columns] = [dims[0] ?? 0, dims[1] ?? 0]
  if (dims.length !== 2 || rows < 8 || columns < 2) return false
  const values = await numbersOf(tensor)
  if (!values) return false
  const amplitude = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  if (!(amplitude > 0 && amplitude < Infinity)) return false
  let turning = 0
  for (let column = 0; column < columns; column++) {
    const wave = Array.from({ length: rows }, (_, row) => values[row * columns + column]! / amplitude)
    const twiceCos = twiceCosineOf(wave)
    const follows = wave
      .slice(1, -1)
      .filter((v, i) => Math.abs(wave[i]! + wave[i + 2]! - twiceCos * v) <= TOLERANCE)
    if (follows.length < MOSTLY_WAVES * (rows - 2)) return false
    if (Math.abs(twiceCos) < 1.9) turning++
  }
  return turning > 0
}

/** The median of `(v[p+1] + v[p-1]) / v[p]` where v[p] is not small; 2 for a column of zeros. */
function twiceCosineOf(wave: readonly number[]): number {
  const ratios = wave
    .slice(1, -1)
    .flatMap((v, i) => (Math.abs(v) > 0.05 ? [(wave[i]! + wave[i + 2]!) / v] : []))
    .sort((a, b) => a - b)
  return ratios[ratios.length >> 1] ?? 2
}

/** Elements that make a progression no accident. A constant factor is rarer than a constant difference. */
const LONG = 8
const LONG_BY_FACTOR = 4

/** As far as an element type holds a progression: a few of its roundings. */
function steadiness({ dtype }: Tensor): number {
  if (dtype === 'bfloat16') return 2e-2
  return dtype === 'float16' ? 3e-3 : 1e-5
}

/**
 * Whether the elements climb or fall by one difference or one factor: positions, the slopes of ALiBi, the frequencies of
 * rotary embeddings, the bins of a distribution. Learned numbers do not.
 */
export async function isProgression(tensor: Tensor): Promise<boolean> {
  if (tensor.size < LONG_BY_FACTOR) return false
  const values = await numbersOf(tensor)
  if (!values) return false
  const steady = steadiness(tensor)
  const steps = values.slice(1).map((value, i) => value - values[i]!)
  const factors = values.slice(1).map((value, i) => value / values[i]!)
  return (values.length >= LONG && isSteady(steps, 0, steady)) || isSteady(factors, 1, steady)
}

/** Whether all numbers are the first one, which is not `idle`. */
function isSteady(numbers: readonly number[], idle: number, steady: number): boolean {
  const first = numbers[0]!
  const close = (number: number) => Math.abs(number - first) <= steady * Math.abs(first)
  return Math.abs(first - idle) > steady && numbers.every(close)
}

/** Share of the neighbours in a row that go on as the two before them did, where anything changes. */
const MOSTLY_STEADY = 0.5

/**
 * Whether rows climb or fall evenly, with kinks: distances between positions, what ALiBi adds, with or without a mask,
 * coordinates of a grid. Looks at `tensor` as a whole, or at the first `count` elements.
 */
export async function isSteadyTable(tensor: Tensor, count?: number): Promise<boolean> {
  if (tensor.size < MANY) return false
  const values = count === undefined ? await numbersOf(tensor) : await firstNumbersOf(tensor, count)
  const columns = tensor.dims.findLast(dim => dim > 1) ?? 1
  if (!values || columns < 3) return false
  const near = steadiness(tensor)
  let [even, uneven] = [0, 0]
  for (let i = 2; i < values.length; i++) {
    const [a, b, c] = [values[i - 2]!, values[i - 1]!, values[i]!]
    const most = Math.max(Math.abs(a), Math.abs(b), Math.abs(c))
    if (i % columns < 2 || most >= -SWITCHED_OFF || !Number.isFinite(most) || (a === b && b === c)) continue
    if (Math.abs(a - 2 * b + c) <= near * most) even++
    else uneven++
  }
  return even >= LONG && even >= MOSTLY_STEADY * (even + uneven)
}

/** Whether long runs of equal numbers follow one another, as the strides of the cells of several grids do. */
export async function isStepwise(tensor: Tensor): Promise<boolean> {
  if (tensor.size < MANY) return false
  const values = (await numbersOf(tensor)) ?? []
  const changes = values.slice(1).filter((value, i) => value !== values[i]).length
  return changes > 0 && changes * LONG <= values.length && !values.includes(0)
}
