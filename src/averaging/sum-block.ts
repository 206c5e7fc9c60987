/**
 * Exact sums of up to BLOCK elements each: the accumulator of every average.
 *
 * An element's sum is held in the first of these forms that holds it exactly, checked at every addition:
 * 1. `high[i]`, one float64; enough while all summands are multiples of some u and the sum stays below 2^53 u;
 * 2. `high[i] + low[i]`, a pair; 106 bits;
 * 3. an expansion (expansion.ts) in `wide`, with `high[i]` and `low[i]` NaN, which makes the kernels come back here.
 * As no form ever rounds, no order, grouping or number of workers can change a sum, nor the mean rounded from it.
 */

import { invariant } from '../util/errors.ts'
import type { BlockMemory, VectorDType } from './block-memory.ts'
import { canonicalExpansion, growExpansion } from './expansion.ts'
import {
  addFloat32,
  addFloat64,
  MAX_FLOAT64,
  mean16,
  meanFloat32,
  meanFloat64,
  widen16,
  type Spill,
} from './kernels.ts'
import { roundMean, type AveragedDType } from './rounding.ts'

/** Elements of a block: sums (512 KiB) and a member's elements stay in the second-level cache. */
export const BLOCK = 65536

/** An element that has no place in a mean: NaN, infinite, or a float64 of 2^990 and above. */
export class UnsummableValue extends Error {
  readonly index: number
  readonly value: number

  constructor(index: number, value: number) {
    super(`element ${index} is ${value}`)
    this.index = index
    this.value = value
  }
}

/** Components of sums beyond the pair, of those few elements that need them: `indices[k]` has `values[k]`. */
export interface Tail {
  readonly indices: readonly number[]
  readonly values: readonly number[]
}

const NO_LOW = new Float64Array(BLOCK)

export class SumBlock {
  readonly size: number
  /** Starts at -0: the only start with which a sum of zeros is -0 just when all of them are. */
  readonly #high: Float64Array
  /** Allocated when an element first needs it. */
  #low: Float64Array | null = null
  readonly #wide = new Map<number, number[]>()
  #scratch: Float32Array | null = null

  readonly #memory: BlockMemory | null

  /** `memory` holds the sums of a block that is passing through; those that stay are in plain arrays. */
  constructor(size: number, memory: BlockMemory | null = null) {
    invariant(size <= BLOCK, `a block of ${size}`)
    this.size = size
    this.#memory = memory
    this.#high = (memory?.high.subarray(0, size) ?? new Float64Array(size)).fill(-0)
  }

  /** Empties the sums. */
  reset(): void {
    this.#high.fill(-0)
    this.#low?.fill(0)
    this.#wide.clear()
  }

  /** Adds weight · x to the first elements; `x` is the view of a tensor of this dtype (16-bit types as their bits). */
  add(dtype: AveragedDType, x: Float32Array | Float64Array | Uint16Array, weight: number): void {
    const high = this.#high.subarray(0, x.length)
    if (this.#memory && !(x instanceof Float64Array)) {
      this.#memory.add(dtype as VectorDType, x, weight, this.#spill)
    } else if (x instanceof Float32Array) addFloat32(high, x, weight, this.#spill)
    else if (x instanceof Uint16Array) {
      const scratch = (this.#scratch ??= new Float32Array(this.size)).subarray(0, x.length)
      widen16(dtype as 'float16' | 'bfloat16', x, scratch)
      addFloat32(high, scratch, weight, this.#spill)
    } else if (weight === 1) {
      this.#low ??= new Float64Array(this.size)
      addFloat64(high, this.#low, x, this.#spillElement)
    } else for (let i = 0; i < x.length; i++) this.#addProduct(i, x[i]!, weight)
  }

  /** Adds sums of other members: pairs, interleaved as high, low, high, low. */
  addPairs(pairs: Float64Array): void {
    const high = this.#high
    for (let i = 0, k = 0; k < pairs.length; i++, k += 2) {
      const a = high[i]!
      const v = pairs[k]!
      const s = a + v
      if (s - a === v && s - v === a) high[i] = s
      else this.#spill(i, v)
      if (pairs[k + 1] !== 0) this.#spill(i, pairs[k + 1]!)
    }
  }

  /** Adds one number to one element. */
  addAt(index: number, value: number): void {
    this.#spill(index, value)
  }

  /** Writes the means of the first elements, correctly rounded, in the dtype's packed form. */
  mean(dtype: AveragedDType, total: number, out: Float32Array | Float64Array | Uint16Array): void {
    const low = this.#low ?? NO_LOW
    const careful = (i: number) => roundMean(this.#canonical(i), total, dtype)
    if (out instanceof Float32Array) meanFloat32(this.#high, low, total, out, careful)
    else if (out instanceof Float64Array) meanFloat64(this.#high, low, total, out, careful)
    else mean16(dtype as 'float16' | 'bfloat16', this.#high, low, total, out, careful)
  }

  /** Writes the sums of the first elements as canonical pairs, interleaved; what they cannot hold is in `tail`. */
  pairs(out: Float64Array): void {
    const low = this.#low ?? NO_LOW
    for (let i = 0, k = 0; k < out.length; i++, k += 2) {
      if (low[i] === 0) {
        out[k] = this.#high[i]!
        out[k + 1] = 0
      } else {
        const [first = 0, second = 0] = this.#canonical(i)
        out[k] = first
        out[k + 1] = second
      }
    }
  }

  /** The components of sums in canonical form beyond the pairs. */
  tail(): Tail {
    const indices: number[] = []
    const values: number[] = []
    for (const i of [...this.#wide.keys()].sort((a, b) => a - b)) {
      for (const value of this.#canonical(i).slice(2)) {
        indices.push(i)
        values.push(value)
      }
    }
    return { indices, values }
  }

  #canonical(i: number): number[] {
    const a = this.#high[i]!
    if (Number.isNaN(a)) return canonicalExpansion(this.#wide.get(i)!)
    const c = this.#low?.[i] ?? 0
    const high = a + c
    const b = high - a
    const low = a - (high - b) + (c - b)
    return low === 0 ? [high] : [high, low]
  }

  /** The slow addition: tries the pair, then the expansion. */
  readonly #spill: Spill = (i, v) => {
    if (!(Math.abs(v) < MAX_SUM)) throw new UnsummableValue(i, v)
    const a = this.#high[i]!
    if (Number.isNaN(a)) {
      growExpansion(this.#wide.get(i)!, v)
      return
    }
    const low = (this.#low ??= new Float64Array(this.size))
    const s = a + v
    const b = s - a
    const error = a - (s - b) + (v - b)
    const c = low[i]!
    const t = c + error
    if (t - c === error && t - error === c) {
      this.#high[i] = s
      low[i] = t
      return
    }
    this.#wide.set(i, growExpansion(growExpansion(growExpansion([], a), c), v))
    this.#high[i] = NaN
    low[i] = NaN
  }

  readonly #spillElement: Spill = (i, v) => {
    if (!(Math.abs(v) < MAX_FLOAT64)) throw new UnsummableValue(i, v)
    this.#spill(i, v)
  }

  /** Adds weight · x of a float64 x: Veltkamp's split into 25 and 28 bits makes both products exact. */
  #addProduct(i: number, x: number, weight: number): void {
    if (!(Math.abs(x) < MAX_FLOAT64)) throw new UnsummableValue(i, x)
    const c = x * (2 ** 28 + 1)
    const upper = c - (c - x)
    this.#spill(i, upper * weight)
    // Adding +0 would take the sign off a sum of negative zeros.
    if (x !== upper) this.#spill(i, (x - upper) * weight)
  }
}

/** No sum of elements below MAX_FLOAT64 whose weights total 2^28 reaches this. */
const MAX_SUM = 2 ** 1019
