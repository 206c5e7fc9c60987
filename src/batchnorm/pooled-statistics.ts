/** Mean and variance per channel of data that comes in batches. */

import { InputError, invariant } from '../util/errors.ts'

/**
 * `exact`: mean and unbiased variance of all the data, as if it were one batch.
 * `torch`: what `torch.optim.swa_utils.update_bn` gives, the plain means over batches of the batch means and of the
 * unbiased batch variances; a small last batch weighs as much as the others, and the spread between batches is missing.
 */
export type BatchNormMode = 'exact' | 'torch'

export interface ChannelStatistics {
  readonly mean: Float64Array
  readonly variance: Float64Array
}

/** Accumulates in float64: the result does not depend on how data is cut into batches, but for the last bits. */
export class PooledStatistics {
  readonly channels: number
  #count = 0
  #batches = 0
  /** Mean of everything so far. */
  readonly #mean: Float64Array
  /** Sum of squared distances from that mean. */
  readonly #m2: Float64Array
  readonly #sumOfMeans: Float64Array
  readonly #sumOfVariances: Float64Array

  constructor(channels: number) {
    this.channels = channels
    this.#mean = new Float64Array(channels)
    this.#m2 = new Float64Array(channels)
    this.#sumOfMeans = new Float64Array(channels)
    this.#sumOfVariances = new Float64Array(channels)
  }

  /** Values per channel so far. */
  get count(): number {
    return this.#count
  }

  get batches(): number {
    return this.#batches
  }

  /** Adds a batch: its means, its sums of squared distances from them, and its `count` of values per channel. */
  add(mean: ArrayLike<number>, m2: ArrayLike<number>, count: number): void {
    invariant(count >= 2, `a batch of ${count} values has no variance`)
    this.#pool(mean, m2, count)
    this.#batches++
    for (let c = 0; c < this.channels; c++) {
      this.#sumOfMeans[c]! += mean[c]!
      this.#sumOfVariances[c]! += m2[c]! / (count - 1)
    }
  }

  /** Adds everything that `other` has seen. */
  merge(other: PooledStatistics): void {
    if (other.#count === 0) return
    this.#pool(other.#mean, other.#m2, other.#count)
    this.#batches += other.#batches
    for (let c = 0; c < this.channels; c++) {
      this.#sumOfMeans[c]! += other.#sumOfMeans[c]!
      this.#sumOfVariances[c]! += other.#sumOfVariances[c]!
    }
  }

  /** The statistics of what was added; at least one batch must have been. */
  result(mode: BatchNormMode): ChannelStatistics {
    if (this.#batches === 0) throw new InputError('batch normalization: no batch was seen')
    if (mode === 'torch') {
      return {
        mean: this.#sumOfMeans.map(sum => sum / this.#batches),
        variance: this.#sumOfVariances.map(sum => sum / this.#batches),
      }
    }
    return { mean: this.#mean.slice(), variance: this.#m2.map(m2 => m2 / (this.#count - 1)) }
  }

  /**
   * Chan, Golub, LeVeque 1979: with d = mean_b - mean_a and n = n_a + n_b,
   * mean = mean_a + d n_b / n and M2 = M2_a + M2_b + d² n_a n_b / n.
   */
  #pool(mean: ArrayLike<number>, m2: ArrayLike<number>, count: number): void {
    invariant(mean.length === this.channels, `${mean.length} channels pooled into ${this.channels}`)
    const before = this.#count
    const total = before + count
    for (let c = 0; c < this.channels; c++) {
      const distance = mean[c]! - this.#mean[c]!
      this.#mean[c]! += (distance * count) / total
      this.#m2[c]! += m2[c]! + (distance * distance * before * count) / total
    }
    this.#count = total
  }
}
