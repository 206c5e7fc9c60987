/** The masks of a batch: each follows its image, and all are one tensor. */

import { formatShape, sameShape, type Shape } from '../../tensor/shape.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { InputError, invariant } from '../../util/errors.ts'
import type { Dataset, Mask, MaskOf, Sample, TargetField } from '../dataset.ts'
import { followImage, type Placed } from './follow.ts'

interface MaskTarget {
  readonly target: TargetField
  readonly mask: MaskOf
  /** Positions among the data set's targets and fields. */
  readonly t: number
  readonly f: number
}

export class MaskWriter {
  readonly #dataset: Dataset
  readonly #targets: readonly MaskTarget[]
  readonly #outside: number | undefined

  /** @param outside the class of what comes from outside an image; by default that of pixels without a class */
  constructor(dataset: Dataset, outside: number | undefined) {
    this.#dataset = dataset
    this.#outside = outside
    this.#targets = dataset.targets.flatMap((target, t) => {
      const { mask } = target
      if (!mask) return []
      const f = dataset.fields.findIndex(({ name }) => name === mask.field)
      invariant(f >= 0, `target ${target.name} is the mask of the unknown field ${mask.field}`)
      return { target, mask, t, f }
    })
  }

  /**
   * Masks int64 [n, height, width] by the names of their targets.
   *
   * @param placed by field, then by sample
   * @param loaded the samples, if they were fetched
   */
  write(
    samples: Uint32Array,
    placed: readonly (readonly (Placed | null)[])[],
    loaded: readonly Sample[] | null,
  ): Map<string, Tensor> {
    return new Map(
      this.#targets.map(({ target, mask, t, f }) => {
        const all = Array.from(samples, (sample, i) => {
          const own = loaded?.[i]!.masks?.[t] ?? this.#fromMemory(sample, t)
          const place = placed[f]?.[i] ?? null
          if (place === null) return { dims: [own.height, own.width], labels: own.labels }
          const { height, width } = place.size
          return {
            dims: [height, width],
            labels: followImage(own, place, this.#outside ?? mask.ignored),
          }
        })
        return [target.name, this.#stacked(samples, all)]
      }),
    )
  }

  #fromMemory(sample: number, t: number): Mask {
    const [height, width] = this.#dataset.targets[t]!.dims as [number, number]
    return { height, width, labels: this.#dataset.target(sample, t) as Int32Array }
  }

  #stacked(
    samples: Uint32Array,
    all: readonly { readonly dims: Shape; readonly labels: Int32Array }[],
  ): Tensor {
    const { dims } = all[0]!
    const size = all[0]!.labels.length
    const words = new Int32Array(2 * size * all.length) // int64 as pairs of words, the low one first
    all.forEach((mask, i) => {
      if (!sameShape(mask.dims, dims)) {
        const describe = (at: number) =>
          `${this.#dataset.sampleName(samples[at]!)} is ${formatShape(all[at]!.dims)}`
        throw new InputError(
          `${this.#dataset.name}: masks of one batch differ in size: ${describe(0)}, ${describe(i)}`,
        )
      }
      let to = 2 * size * i
      for (const label of mask.labels) {
        words[to++] = label
        words[to++] = label >> 31
      }
    })
    return new Tensor('int64', [all.length, ...dims], new Uint8Array(words.buffer))
  }
}
