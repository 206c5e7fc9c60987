/**
 * How far apart two engines' results for one value are.
 *
 * Of floating-point values it is ‖a - r‖∞ / ‖r‖∞: the largest difference of an element, over the largest magnitude in the
 * reference. An element of its own small size may differ by more of itself; it is small beside what it is summed with.
 * Of integers and booleans it is the share of elements that are not equal.
 */

import type { DType } from '../tensor/dtype.ts'
import { formatShape } from '../tensor/shape.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** The element in which a value differs most. */
export interface WorstElement {
  /** Which batch, from 0, and which element of it. */
  readonly batch: number
  readonly index: number
  readonly reference: number
  readonly value: number
}

export interface Difference {
  readonly dtype: DType
  /** Elements compared. */
  readonly elements: number
  /** Largest |a - r|; infinite where one of the two alone is infinite or no number. */
  readonly maxAbsolute: number
  /** Largest finite |r|. */
  readonly scale: number
  /** What tolerances are about; see above. */
  readonly relative: number
  /** Elements that are infinite or no number in one of the two alone; integers: elements that are not equal. */
  readonly mismatched: number
  readonly worst: WorstElement | null
  /** Where the two have different dims: both. */
  readonly shapes: string | null
}

/** Magnitudes below this are noise beside anything a network computes: differences of a value of zeros are not infinite. */
const LEAST_SCALE = 1e-6

const FLOATS: ReadonlySet<DType> = new Set(['float32', 'float64', 'float16', 'bfloat16'])

/** Whether a value is compared at all: text is not. */
export function isComparable(dtype: DType | null): boolean {
  return dtype !== null && dtype !== 'string'
}

/** The difference of one value over any number of batches. */
export class DifferenceAccumulator {
  #dtype: DType = 'float32'
  #batch = 0
  #elements = 0
  #maxAbsolute = 0
  #scale = 0
  #mismatched = 0
  #worst: WorstElement | null = null
  #shapes: string | null = null

  /** Adds a batch; returns whether it holds the worst element so far. */
  add(reference: Tensor, value: Tensor): boolean {
    const before = this.#worst
    const batch = this.#batch++
    this.#dtype = reference.dtype
    if (formatShape(reference.dims) !== formatShape(value.dims)) {
      this.#shapes ??= `${formatShape(reference.dims)} and ${formatShape(value.dims)}`
      return before === null
    }
    const [r, a] = [elementsOf(reference), elementsOf(value)]
    this.#elements += r.length
    if (FLOATS.has(reference.dtype)) this.#addFloats(r as ArrayLike<number>, a, batch)
    else this.#addIntegers(r, a, batch)
    return this.#worst !== before
  }

  result(): Difference {
    const isFloat = FLOATS.has(this.#dtype)
    const measured = isFloat
      ? this.#maxAbsolute / Math.max(this.#scale, LEAST_SCALE)
      : this.#mismatched / Math.max(this.#elements, 1)
    return {
      dtype: this.#dtype,
      elements: this.#elements,
      maxAbsolute: this.#maxAbsolute,
      scale: this.#scale,
      relative: this.#shapes === null ? measured : Infinity,
      mismatched: this.#mismatched,
      worst: this.#worst,
      shapes: this.#shapes,
    }
  }

  #addFloats(reference: ArrayLike<number>, value: ArrayLike<number | bigint>, batch: number): void {
    for (let i = 0; i < reference.length; i++) {
      const r = reference[i]!
      const a = Number(value[i])
      const magnitude = Math.abs(r)
      if (magnitude > this.#scale && magnitude < Infinity) this.#scale = magnitude
      if (r === a) continue
      let apart = Math.abs(a - r)
      if (!Number.isFinite(apart)) {
        if (Number.isNaN(r) && Number.isNaN(a)) continue
        apart = Infinity
        this.#mismatched++
      }
      this.#note(apart, { batch, index: i, reference: r, value: a })
    }
  }

  #addIntegers(
    reference: ArrayLike<number | bigint>,
    value: ArrayLike<number | bigint>,
    batch: number,
  ): void {
    for (let i = 0; i < reference.length; i++) {
      // One engine may hold an int64 as int32: 1n == 1.
      const [r, a] = [reference[i]!, value[i]!]
      if (r === a || BigInt(r) === BigInt(a)) continue
      this.#mismatched++
      this.#note(Math.abs(Number(a) - Number(r)), { batch, index: i, reference: Number(r), value: Number(a) })
    }
  }

  #note(apart: number, element: WorstElement): void {
    if (apart <= this.#maxAbsolute) return
    this.#maxAbsolute = apart
    this.#worst = element
  }
}

/** The difference of two tensors. */
export function differenceOf(reference: Tensor, value: Tensor): Difference {
  const accumulator = new DifferenceAccumulator()
  accumulator.add(reference, value)
  return accumulator.result()
}

/** Elements as they are compared; half-precision types show bits in their views. */
function elementsOf(tensor: Tensor): ArrayLike<number | bigint> {
  return tensor.dtype === 'float16' || tensor.dtype === 'bfloat16' ? tensor.toNumbers() : tensor.view()
}

/** `3.2e-7`; what only one of the two cannot compute is infinitely far off. */
export function formatDifference(relative: number): string {
  return relative === 0 ? '0' : Number.isFinite(relative) ? relative.toExponential(1) : 'infinite'
}
