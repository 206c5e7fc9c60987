/**
 * The inner loops of averaging. Each does the common case without branches that are taken and hands every element that it
 * cannot prove exact to a callback; the callback is slow and always right (sum-block.ts). Kernels of other kinds
 * (WebAssembly, worker threads) keep to the same contract.
 *
 * `a + v` is exact if and only if both `s - a === v` and `s - v === a` hold for the rounded sum s: by Dekker's theorem
 * the difference with the larger operand is exact. NaN and infinity fail one of the two, so they reach the callback.
 */

import { encodeFloat8, float8Values, type Float8DType } from '../tensor/float8.ts'
import type { Elements } from './elements.ts'
import { FORMATS, type AveragedDType } from './rounding.ts'

/** Called with the index and the value that could not be added exactly. */
export type Spill = (index: number, value: number) => void

/** Sums of float64 elements stay below 2^1018, and Veltkamp's split in range, while elements are below this. */
export const MAX_FLOAT64 = 2 ** 990

/** high[i] += weight · x[i]; the product of a float32 and a whole number up to 2^28 is exact. */
export function addFloat32(high: Float64Array, x: Float32Array, weight: number, spill: Spill): void {
  for (let i = 0; i < x.length; i++) {
    const a = high[i]!
    const v = x[i]! * weight
    const s = a + v
    if (s - a === v && s - v === a) high[i] = s
    else spill(i, v)
  }
}

/** high[i] + low[i] += x[i]: float64 elements are rarely added exactly, so the pair is kept here. */
export function addFloat64(high: Float64Array, low: Float64Array, x: Float64Array, spill: Spill): void {
  for (let i = 0; i < x.length; i++) {
    const a = high[i]!
    const v = x[i]!
    const s = a + v
    const b = s - a
    const error = a - (s - b) + (v - b)
    const c = low[i]!
    const t = c + error
    if (t - c === error && t - error === c && Math.abs(v) < MAX_FLOAT64) {
      high[i] = s
      low[i] = t
    } else spill(i, v)
  }
}

/** Means as float32, correctly rounded (rounding.ts); `careful(i)` gives those that need more than a pair of float64. */
export function meanFloat32(
  high: Float64Array,
  low: Float64Array,
  total: number,
  out: Float32Array,
  careful: (index: number) => number,
): void {
  for (let i = 0; i < out.length; i++) {
    const c = low[i]!
    if (c === 0) {
      out[i] = high[i]! / total
      continue
    }
    // q is within 2^-51 relative of the mean. With m the midpoint next to it, g = 2 q - f lies as far from the other
    // neighbour of m as twice the distance of q and m: if that is larger, q and the mean are on one side of m.
    const q = (high[i]! + c) / total
    const f = Math.fround(q)
    const g = q + (q - f)
    out[i] = Math.abs(g - Math.fround(g)) > Math.abs(q) * 2 ** -48 ? f : careful(i)
  }
}

/** For each exponent byte of a float32: 1.5 · 2^52 · the spacing of a 16-bit format there. */
function shiftersOf(dtype: 'float16' | 'bfloat16'): Float64Array {
  const { precision, minimum } = FORMATS[dtype]
  return Float64Array.from(
    { length: 256 },
    (_, e) => 1.5 * 2 ** (52 + Math.max(e - 127 - precision + 1, minimum)),
  )
}

const SHIFTERS = { float16: shiftersOf('float16'), bfloat16: shiftersOf('bfloat16') }
const float = new Float32Array(1)
const bits = new Int32Array(float.buffer)

/** Means as the bits of a 16-bit format; `careful` as above. */
export function mean16(
  dtype: 'float16' | 'bfloat16',
  high: Float64Array,
  low: Float64Array,
  total: number,
  out: Uint16Array,
  careful: (index: number) => number,
): void {
  const shifters = SHIFTERS[dtype]
  const half = dtype === 'float16'
  for (let i = 0; i < out.length; i++) {
    let f: number
    if (low[i] === 0) {
      const q = high[i]! / total
      float[0] = q
      // Adding and subtracting the shifter rounds q to a multiple of the spacing, ties to even.
      const shifter = shifters[(bits[0]! >> 23) & 0xff]!
      f = q + shifter - shifter
      if (f === 0 && (q < 0 || Object.is(q, -0))) f = -0
    } else f = careful(i)
    float[0] = f
    const word = bits[0]!
    if (!half) out[i] = word >>> 16
    else {
      const magnitude = word & 0x7fffffff
      const sign = (word >>> 16) & 0x8000
      // Below 2^-14 a float16 is a whole number of 2^-24; above, the exponent's bias changes from 127 to 15.
      const normal = Math.min((magnitude - 0x38000000) >> 13, 0x7c00)
      out[i] = sign | (magnitude < 0x38800000 ? Math.abs(f) * 2 ** 24 : normal)
    }
  }
}

const double = new Float64Array(1)
const words = new Uint32Array(double.buffer)
/** How far from a tie, in half spacings, a remainder computed in float64 is to be trusted (its error is below 2^-22). */
const MARGIN = 2 ** -20

/** Means as float64; `careful` as above. */
export function meanFloat64(
  high: Float64Array,
  low: Float64Array,
  total: number,
  out: Float64Array,
  careful: (index: number) => number,
): void {
  for (let i = 0; i < out.length; i++) {
    const a = high[i]!
    const c = low[i]!
    if (c === 0) {
      out[i] = a / total
      continue
    }
    // h + l = a + c, h rounded; q = RN(h / total); the remainder (h + l) - q · total in half spacings of q decides.
    const h = a + c
    const b = h - a
    const l = a - (h - b) + (c - b)
    const q = h / total
    const split = q * (2 ** 28 + 1)
    const upper = split - (split - q)
    const rest = h - upper * total - (q - upper) * total + l
    double[0] = q
    const power = words[0] === 0 && (words[1]! & 0xfffff) === 0
    const magnitude = Math.abs(q)
    const half = halfSpacing(words[1]!)
    const steps = Math.abs(rest) / (half * total)
    const safe = !power && magnitude > 2 ** -900 && magnitude < 2 ** 990
    if (safe && steps < 1 - MARGIN) out[i] = q
    else if (safe && steps > 1 + MARGIN && steps < 3 - MARGIN) out[i] = q + Math.sign(rest) * 2 * half
    else out[i] = careful(i)
  }
}

/** Half the spacing of float64 numbers in the binade of a number whose upper word is given; meaningless below 2^-960. */
function halfSpacing(upperWord: number): number {
  words[1] = (upperWord & 0x7ff00000) - (53 << 20)
  words[0] = 0
  return double[0]!
}

/** Means as the codes of an 8-bit format: rare enough to be rounded one by one. */
export function mean8(dtype: Float8DType, out: Uint8Array, careful: (index: number) => number): void {
  for (let i = 0; i < out.length; i++) out[i] = encodeFloat8(dtype, careful(i))
}

/** The index of the first element that has no place in a mean, or -1. */
export function findUnsummable(dtype: AveragedDType, x: Elements): number {
  if (x instanceof Uint16Array) {
    const exponent = dtype === 'float16' ? 0x7c00 : 0x7f80
    return x.findIndex(code => (code & exponent) === exponent)
  }
  if (x instanceof Uint8Array) {
    const values = float8Values(dtype as Float8DType)
    return x.findIndex(code => !Number.isFinite(values[code]!))
  }
  const limit = x instanceof Float64Array ? MAX_FLOAT64 : Infinity
  for (let i = 0; i < x.length; i++) if (!(Math.abs(x[i]!) < limit)) return i
  return -1
}
