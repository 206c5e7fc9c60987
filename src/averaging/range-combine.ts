/**
 * Ways of combining members that look at whole tensors: what has to be known about a tensor is measured range by range
 * first, then each range is combined in float64 and rounded once.
 */

import { encodeElement, viewOf, widen, widthOf } from './elements.ts'
import { MAX_FLOAT64 } from './kernels.ts'
import { take, type Place } from './place.ts'
import type { OutResult } from './range-order.ts'
import { Specials } from './specials.ts'
import { roundMean, type AveragedDType } from './rounding.ts'

/** What is to be known about a range of a tensor. */
export type Measure =
  /** Of two members: Σ a b, Σ a a, Σ b b. */
  | { readonly kind: 'angle' }
  /**
   * Of each member's differences to the first file: how many there are of each size. Sizes are the bits of float32
   * numbers: their upper 16, or, for those with given upper bits (one for each member), their lower 15.
   */
  | { readonly kind: 'sizes'; readonly within: readonly number[] | null }

export interface MeasureRequest {
  readonly dtype: AveragedDType
  readonly count: number
  readonly places: readonly Place[]
  readonly measure: Measure
}

/** The three sums, or for each member the counts. */
export type MeasureResult = readonly Float64Array[]

/** How the numbers of one place are combined. */
export type Rule =
  /** Σ coefficients[k] · x[k]. */
  | { readonly kind: 'linear'; readonly coefficients: readonly number[] }
  /** x[0] is the base; of differences those are taken whose size (bits of a float32) reaches `least`. */
  | { readonly kind: 'ties'; readonly least: readonly number[]; readonly scale: number }
  /** x[0] is the base; of the differences of each member a random share is taken. */
  | {
      readonly kind: 'dare'
      readonly drop: number
      readonly scale: number
      readonly seeds: readonly number[]
    }

export interface CombineRequest {
  readonly dtype: AveragedDType
  readonly count: number
  /** Elements of the tensor before the range. */
  readonly start: number
  readonly places: readonly Place[]
  readonly rule: Rule
  readonly nonfinite: 'refuse' | 'allow'
  readonly out: SharedArrayBuffer
}

/** Elements that are worked on at a time. */
export const SIZE = 8192
const LEVEL1 = 1 << 16
const LEVEL2 = 1 << 15

const float = new Float32Array(1)
const bits = new Uint32Array(float.buffer)

/** The size of a number: the bits of its magnitude as float32, which are ordered as magnitudes are. */
export function sizeOfNumber(x: number): number {
  float[0] = Math.abs(x)
  return bits[0]!
}

export class RangeCombine {
  readonly #specials = new Specials()
  #buffers: Float64Array[] = []

  measure({ dtype, count, places, measure }: MeasureRequest): MeasureResult {
    const buffers = this.#buffersFor(places.length)
    const result = startOf(measure, places.length)
    for (let start = 0; start < count; start += SIZE) {
      const length = Math.min(SIZE, count - start)
      places.forEach((place, k) => load(place, dtype, start, length, buffers[k]!))
      if (measure.kind === 'angle') measureAngle(buffers, length, result[0]!)
      else countSizes(buffers, length, measure.within, result)
    }
    return result
  }

  combine({ dtype, count, start: before, places, rule, nonfinite, out }: CombineRequest): OutResult {
    const buffers = this.#buffersFor(places.length)
    const result = new Float64Array(SIZE)
    const width = widthOf(dtype)
    for (let start = 0; start < count; start += SIZE) {
      const length = Math.min(SIZE, count - start)
      this.#specials.reset(nonfinite)
      places.forEach((place, k) => {
        const x = buffers[k]!
        load(place, dtype, start, length, x)
        for (let i = 0; i < length; i++) {
          if (!(Math.abs(x[i]!) < MAX_FLOAT64)) this.#specials.add(k, i, x[i]!)
        }
      })
      const specials = [...this.#specials.settle(places.length)]
      combineBlock(rule, buffers, length, before + start, result)
      const elements = viewOf(dtype, new Uint8Array(out, start * width, length * width))
      for (let i = 0; i < length; i++) elements[i] = encodeElement(dtype, roundMean([result[i]!], 1, dtype))
      this.#specials.refuseOverflow(dtype, elements)
      for (const { index, value } of specials) elements[index] = encodeElement(dtype, value)
      const { refused } = this.#specials
      if (refused) return { out, refused: { ...refused, index: start + refused.index } }
    }
    return { out, refused: null }
  }

  #buffersFor(members: number): readonly Float64Array[] {
    while (this.#buffers.length < members) this.#buffers.push(new Float64Array(SIZE))
    return this.#buffers.slice(0, members)
  }
}

const narrow = new Uint8Array(SIZE * 8)
const wider = new Float32Array(SIZE)

/** Elements as float64 numbers. */
export function load(
  place: Place,
  dtype: AveragedDType,
  start: number,
  length: number,
  into: Float64Array,
): void {
  const width = widthOf(dtype)
  const bytes = narrow.subarray(0, length * width)
  take(place, start * width, bytes)
  const x = viewOf(dtype, bytes)
  if (x instanceof Float32Array || x instanceof Float64Array) into.set(x)
  else {
    widen(dtype, x, wider.subarray(0, length))
    into.set(wider.subarray(0, length))
  }
}

function startOf(measure: Measure, places: number): Float64Array[] {
  if (measure.kind === 'angle') return [new Float64Array(3)]
  return Array.from({ length: places - 1 }, () => new Float64Array(measure.within ? LEVEL2 : LEVEL1))
}

function measureAngle(buffers: readonly Float64Array[], length: number, sums: Float64Array): void {
  const [a, b] = buffers as [Float64Array, Float64Array]
  let [ab, aa, bb] = [0, 0, 0]
  for (let i = 0; i < length; i++) {
    ab += a[i]! * b[i]!
    aa += a[i]! * a[i]!
    bb += b[i]! * b[i]!
  }
  sums[0]! += ab
  sums[1]! += aa
  sums[2]! += bb
}

function countSizes(
  buffers: readonly Float64Array[],
  length: number,
  within: readonly number[] | null,
  counts: readonly Float64Array[],
): void {
  const base = buffers[0]!
  counts.forEach((count, k) => {
    const x = buffers[k + 1]!
    for (let i = 0; i < length; i++) {
      const size = sizeOfNumber(x[i]! - base[i]!)
      if (!within) count[size >>> 15]!++
      else if (size >>> 15 === within[k]) count[size & 0x7fff]!++
    }
  })
}

function combineBlock(
  rule: Rule,
  buffers: readonly Float64Array[],
  length: number,
  start: number,
  result: Float64Array,
): void {
  if (rule.kind === 'linear') combineLinear(rule.coefficients, buffers, length, result)
  else if (rule.kind === 'ties') combineTies(rule, buffers, length, result)
  else combineDare(rule, buffers, length, start, result)
}

function combineLinear(
  coefficients: readonly number[],
  buffers: readonly Float64Array[],
  length: number,
  result: Float64Array,
): void {
  result.fill(0, 0, length)
  coefficients.forEach((c, k) => {
    const x = buffers[k]!
    for (let i = 0; i < length; i++) result[i]! += c * x[i]!
  })
}

function combineTies(
  { least, scale }: Rule & { readonly kind: 'ties' },
  buffers: readonly Float64Array[],
  length: number,
  result: Float64Array,
): void {
  const base = buffers[0]!
  for (let i = 0; i < length; i++) {
    const b = base[i]!
    let [positive, negative, positives, negatives] = [0, 0, 0, 0]
    for (let k = 0; k < least.length; k++) {
      const difference = buffers[k + 1]![i]! - b
      if (difference === 0 || sizeOfNumber(difference) < least[k]!) continue
      if (difference > 0) {
        positive += difference
        positives++
      } else {
        negative += difference
        negatives++
      }
    }
    const sum = positive + negative
    const mean = sum > 0 ? positive / positives : sum < 0 ? negative / negatives : 0
    result[i] = b + scale * mean
  }
}

function combineDare(
  { drop, scale, seeds }: Rule & { readonly kind: 'dare' },
  buffers: readonly Float64Array[],
  length: number,
  start: number,
  result: Float64Array,
): void {
  const base = buffers[0]!
  const factor = scale / (1 - drop)
  const bound = drop * 2 ** 32
  result.set(base.subarray(0, length))
  seeds.forEach((seed, k) => {
    const x = buffers[k + 1]!
    for (let i = 0; i < length; i++) {
      if (draw(seed, start + i) >= bound) result[i]! += factor * (x[i]! - base[i]!)
    }
  })
}

/**
 * A random whole number below 2^32 for each index, so that any range can be drawn by itself: the finalizer of MurmurHash3
 * over seed and index, twice.
 */
export function draw(seed: number, index: number): number {
  const low = mix((seed ^ index) | 0)
  return mix((low + Math.imul(Math.floor(index / 2 ** 32) + 1, 0x9e3779b9)) | 0) >>> 0
}

export function mix(h: number): number {
  h ^= h >>> 16
  h = Math.imul(h, 0x85ebca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2ae35)
  return h ^ (h >>> 16)
}

/** A seed for a tensor of a member. */
export function seedOf(seed: number, member: number, tensor: number): number {
  return mix((mix((seed + Math.imul(member + 1, 0x9e3779b9)) | 0) + Math.imul(tensor + 1, 0x85ebca77)) | 0)
}
