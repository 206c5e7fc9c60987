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
import { isGroupDType, limitOf, type BlockMemory, type GroupDType } from './block-memory.ts'
import { canonicalExpansion, growExpansion } from './expansion.ts'
import { bytesOf, viewOf, widen, type Elements } from './elements.ts'
import { addFloat32, addFloat64, MAX_FLOAT64, mean16, mean8, meanFloat32, meanFloat64 } from './kernels.ts'
import type { Float8DType } from '../tensor/float8.ts'
import { roundMean, type AveragedDType } from './rounding.ts'

/** Elements of a block, at most. */
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

/** Told of an element that has no place in a mean, and the member of the group that has it; it is not added. */
export type Refuse = (index: number, value: number, member: number) => void

const refuseAll: Refuse = (index, value) => {
  throw new UnsummableValue(index, value)
}

/** Components of sums beyond the pair, of those few elements that need them: `indices[k]` has `values[k]`. */
export interface Tail {
  readonly indices: readonly number[]
  readonly values: readonly number[]
}

/** Elements of one place are seldom further apart than so many powers of two. */
const NARROW = 12

const NO_LOW = new Float64Array(BLOCK)

export class SumBlock {
  #size: number
  readonly #memory: BlockMemory | null
  readonly #refuse: Refuse
  /** Starts at -0: the only start with which a sum of zeros is -0 just when all of them are. */
  #high: Float64Array
  /** In use when an element first needs it. */
  #low: Float64Array | null = null
  readonly #wide = new Map<number, number[]>()
  #scratch: Float32Array | null = null
  readonly #one = new Float32Array(1)

  /** `memory` holds the sums of a block that is passing through; those that stay are in plain arrays. */
  constructor(size: number, memory: BlockMemory | null = null, refuse: Refuse = refuseAll) {
    invariant(size <= BLOCK, `a block of ${size}`)
    this.#size = size
    this.#memory = memory
    this.#refuse = refuse
    this.#high = (memory?.high.subarray(0, size) ?? new Float64Array(size)).fill(-0)
  }

  get size(): number {
    return this.#size
  }

  /** Empties the sums, for as many elements. */
  reset(size: number): void {
    this.#size = size
    if (this.#memory) this.#high = this.#memory.high.subarray(0, size)
    else if (this.#high.length !== size) this.#high = new Float64Array(size)
    this.#high.fill(-0)
    this.#low = null
    this.#wide.clear()
  }

  /** Adds weight · x to the first elements; `x` is the view of a tensor of this dtype (16-bit types as their bits). */
  add(dtype: AveragedDType, x: Elements, weight: number): void {
    const high = this.#high.subarray(0, x.length)
    if (x instanceof Float32Array) this.#addNarrow(high, x, weight)
    else if (!(x instanceof Float64Array)) {
      const scratch = (this.#scratch ??= new Float32Array(BLOCK)).subarray(0, x.length)
      widen(dtype, x, scratch)
      this.#addNarrow(high, scratch, weight)
    } else if (weight === 1) addFloat64(high, this.#lower(), x, (i, v) => this.#spillElement(i, v, 1))
    else for (let i = 0; i < x.length; i++) this.#addProduct(i, x[i]!, weight)
  }

  /** Adds the members of a group, weights[k] · element, whose elements are in the block's memory from `first` on. */
  addGroup(dtype: GroupDType, weights: readonly number[], first = 0): void {
    const memory = this.#memory!
    if (dtype === 'float32' && limitOf(dtype, weights) < NARROW) {
      this.#addProducts(weights, first)
      return
    }
    const spilled = memory.addGroup(dtype, this.#size, weights, first)
    if (spilled.length === 0) return
    const members = weights.map((_, k) => viewOf(dtype, memory.members[first + k]!))
    for (const i of spilled) {
      members.forEach((x, k) => {
        if (x instanceof Float32Array) this.#one[0] = x[i]!
        else widen(dtype, x.subarray(i, i + 1) as Uint16Array, this.#one)
        this.#spillElement(i, this.#one[0]!, weights[k]!, k)
      })
    }
  }

  /** The same for float32 and weights of many digits. */
  #addProducts(weights: readonly number[], first: number): void {
    const memory = this.#memory!
    this.#lower()
    weights.forEach((weight, k) => {
      const x = viewOf('float32', memory.members[first + k]!)
      for (const i of memory.addFloat32(this.#size, weight, first + k)) {
        this.#spillElement(i, x[i]!, weight, k)
      }
    })
  }

  /** Adds the float64 elements of a member in the block's memory. */
  addFloat64(weight: number, member = 0): void {
    const memory = this.#memory!
    const x = viewOf('float64', memory.members[member]!).subarray(0, this.#size) as Float64Array
    if (weight !== 1) {
      this.add('float64', x, weight)
      return
    }
    this.#lower()
    for (const i of memory.addFloat64(this.#size, member)) this.#spillElement(i, x[i]!, 1)
  }

  /** Adds sums of other members: pairs, interleaved as high, low, high, low. */
  addPairs(pairs: Float64Array): void {
    const high = this.#high
    for (let i = 0, k = 0; k < pairs.length; i++, k += 2) {
      const a = high[i]!
      const v = pairs[k]!
      const s = a + v
      if (s - a === v && s - v === a) high[i] = s
      else this.addAt(i, v)
      if (pairs[k + 1] !== 0) this.addAt(i, pairs[k + 1]!)
    }
  }

  /** Adds a part of a sum to one element. */
  addAt(index: number, value: number): void {
    if (Math.abs(value) < MAX_SUM) this.#spill(index, value)
    else this.#refuse(index, value, 0)
  }

  /** Writes the means of the first elements, correctly rounded, in the dtype's packed form. */
  mean(dtype: AveragedDType, total: number, out: Elements): void {
    if (this.#memory && this.#low === null && isGroupDType(dtype)) {
      bytesOf(out).set(this.#memory.mean(dtype, out.length, total))
      return
    }
    const low = this.#low ?? NO_LOW
    const careful = (i: number) => roundMean(this.#canonical(i), total, dtype)
    if (out instanceof Float32Array) meanFloat32(this.#high, low, total, out, careful)
    else if (out instanceof Float64Array) meanFloat64(this.#high, low, total, out, careful)
    else if (out instanceof Uint16Array)
      mean16(dtype as 'float16' | 'bfloat16', this.#high, low, total, out, careful)
    else mean8(dtype as Float8DType, out, careful)
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
    // Adding +0 would take the sign off a negative zero.
    if (c === 0) return [a]
    const high = a + c
    const b = high - a
    const low = a - (high - b) + (c - b)
    return low === 0 ? [high] : [high, low]
  }

  /** The second parts of the sums, all zero at first. */
  #lower(): Float64Array {
    return (this.#low ??= this.#memory
      ? this.#memory.low.subarray(0, this.#size).fill(0)
      : new Float64Array(this.#size))
  }

  /** The slow addition: tries the pair, then the expansion. */
  #spill(i: number, v: number): void {
    const a = this.#high[i]!
    if (Number.isNaN(a)) {
      growExpansion(this.#wide.get(i)!, v)
      return
    }
    const low = this.#lower()
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

  /** Adds weight · x of an element; one that is refused is not added. */
  #spillElement(i: number, x: number, weight: number, member = 0): void {
    if (Math.abs(x) < MAX_FLOAT64) this.#spill(i, x * weight)
    else this.#refuse(i, x, member)
  }

  #addNarrow(high: Float64Array, x: Float32Array, weight: number): void {
    addFloat32(high, x, weight, i => this.#spillElement(i, x[i]!, weight))
  }

  /** Adds weight · x of a float64 x: Veltkamp's split into 25 and 28 bits makes both products exact. */
  #addProduct(i: number, x: number, weight: number): void {
    if (!(Math.abs(x) < MAX_FLOAT64)) {
      this.#refuse(i, x, 0)
      return
    }
    const c = x * (2 ** 28 + 1)
    const upper = c - (c - x)
    this.#spill(i, upper * weight)
    // Adding +0 would take the sign off a sum of negative zeros.
    if (x !== upper) this.#spill(i, (x - upper) * weight)
  }
}

/** No sum of elements below MAX_FLOAT64 whose weights total 2^28 reaches this. */
const MAX_SUM = 2 ** 1019
