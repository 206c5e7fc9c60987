/** Which samples make which batch: a function of seed, epoch and position, so that a resumed run needs no state. */

import { InputError, UsageError } from '../util/errors.ts'
import { Random } from '../util/random.ts'

export interface SamplerOptions {
  readonly batchSize: number
  readonly seed: number
  /** A new order each epoch. */
  readonly shuffle: boolean
  /** Leaves out the samples that fill no batch; with `shuffle` these are others in each epoch. */
  readonly dropLast: boolean
}

export class Sampler {
  /** Batches of one epoch. */
  readonly length: number
  readonly #samples: number
  readonly #options: SamplerOptions
  #epoch = -1
  #order: Uint32Array = new Uint32Array(0)

  constructor(samples: number, options: SamplerOptions) {
    const { batchSize, dropLast, shuffle } = options
    if (!Number.isSafeInteger(batchSize) || batchSize < 1)
      throw new UsageError(`batch size: expected a positive integer, got ${batchSize}`)
    if (dropLast && samples < batchSize)
      throw new InputError(`data: ${samples} samples do not fill one batch of ${batchSize}`, {
        cure: `lower the batch size to at most ${samples}`,
      })
    if (dropLast && !shuffle && samples % batchSize !== 0)
      throw new UsageError(
        'data: dropping the last batch without shuffling would never show the same samples',
      )
    this.#samples = samples
    this.#options = options
    this.length = dropLast ? Math.floor(samples / batchSize) : Math.ceil(samples / batchSize)
  }

  /** All samples in the order of this epoch. */
  order(epoch: number): Uint32Array {
    if (epoch !== this.#epoch) {
      const { shuffle, seed } = this.#options
      this.#order = shuffle
        ? Random.of(seed, epoch).permutation(this.#samples)
        : Uint32Array.from({ length: this.#samples }, (_, i) => i)
      this.#epoch = epoch
    }
    return this.#order
  }

  /** The samples of a batch. */
  indices(epoch: number, batch: number): Uint32Array {
    if (!Number.isSafeInteger(batch) || batch < 0 || batch >= this.length)
      throw new UsageError(`data: batch ${batch} is outside an epoch of ${this.length}`)
    const start = batch * this.#options.batchSize
    return this.order(epoch).slice(start, start + this.#options.batchSize)
  }
}
