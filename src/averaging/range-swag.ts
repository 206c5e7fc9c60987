/**
 * The Gaussian of SWAG for a range of a tensor: Maddox et al., "A simple baseline for Bayesian uncertainty in deep learning",
 * 2019. Of each element in turn: the mean, the variance over all members, and of the last `rank` members the difference to
 * the mean of those up to it. All that a sample needs of an element lies together, so that both are streams.
 */

import { MAX_FLOAT64 } from './kernels.ts'
import type { Place } from './place.ts'
import { load, SIZE } from './range-combine.ts'
import type { OutResult } from './range-order.ts'
import { Specials } from './specials.ts'
import type { AveragedDType } from './rounding.ts'

export interface SwagRequest {
  readonly dtype: AveragedDType
  readonly count: number
  /** The members in the order of training. */
  readonly places: readonly Place[]
  readonly rank: number
  /** Receives 2 + rank float32 numbers for each element. */
  readonly out: SharedArrayBuffer
}

export class RangeSwag {
  readonly #specials = new Specials()
  readonly #x = new Float64Array(SIZE)
  readonly #sum = new Float64Array(SIZE)
  readonly #shift = new Float64Array(SIZE)
  readonly #squares = new Float64Array(SIZE)

  run({ dtype, count, places, rank, out }: SwagRequest): OutResult {
    const width = 2 + rank
    const members = places.length
    for (let start = 0; start < count; start += SIZE) {
      const length = Math.min(SIZE, count - start)
      const result = new Float32Array(out, start * width * 4, length * width)
      this.#specials.reset('refuse')
      this.#sum.fill(0)
      this.#squares.fill(0)
      places.forEach((place, k) => {
        load(place, dtype, start, length, this.#x)
        if (k === 0) this.#shift.set(this.#x)
        this.#take(k, length, result, width, k - (members - rank))
      })
      for (let i = 0; i < length; i++) {
        // Sums of differences to the first member: no digits are lost to the size of the numbers.
        const mean = this.#sum[i]! / members
        result[i * width] = this.#shift[i]! + mean
        result[i * width + 1] = Math.max(0, this.#squares[i]! / members - mean * mean)
      }
      const { refused } = this.#specials
      if (refused) return { out, refused: { ...refused, index: start + refused.index } }
    }
    return { out, refused: null }
  }

  /** Adds member `k`; `column`: the place of its deviation, below 0 where it has none. */
  #take(k: number, length: number, result: Float32Array, width: number, column: number): void {
    for (let i = 0; i < length; i++) {
      const x = this.#x[i]!
      if (!(Math.abs(x) < MAX_FLOAT64)) this.#specials.refuse({ summand: k, index: i, value: x })
      const difference = x - this.#shift[i]!
      const sum = this.#sum[i]! + difference
      this.#sum[i] = sum
      this.#squares[i]! += difference * difference
      if (column >= 0) result[i * width + 2 + column] = difference - sum / (k + 1)
    }
  }
}
