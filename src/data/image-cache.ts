/** Keeps decoded images, up to a number of bytes, so that later epochs need not decode them again. */

import type { Columns, Dataset, Field, Sample, Target, TargetField } from './dataset.ts'
import type { Geometry } from './geometry.ts'

/**
 * A data set that remembers what `load` gave. It keeps what comes first and never evicts: epochs visit every sample
 * once, and under such scans eviction by age would drop each image just before its next use. Only images whose
 * geometry is the same at every use are kept, scaled; the fetched bytes are the same with and without the cache.
 */
export class CachedDataset implements Dataset {
  readonly #base: Dataset
  readonly #capacity: number
  readonly #kept = new Map<string, Sample>()
  #bytes = 0

  constructor(base: Dataset, capacity: number) {
    this.#base = base
    this.#capacity = capacity
  }

  /** Bytes of pixels kept. */
  get bytes(): number {
    return this.#bytes
  }

  get name(): string {
    return this.#base.name
  }

  get length(): number {
    return this.#base.length
  }

  get fields(): readonly Field[] {
    return this.#base.fields
  }

  get targets(): readonly TargetField[] {
    return this.#base.targets
  }

  get classes(): readonly string[] | null {
    return this.#base.classes
  }

  get notes(): readonly string[] {
    return this.#base.notes
  }

  get columns(): Columns | null {
    return this.#base.columns
  }

  label(index: number): number | null {
    return this.#base.label(index)
  }

  target(index: number, target?: number): Target {
    return this.#base.target(index, target)
  }

  maskCounts(index: number): Uint32Array | undefined {
    return this.#base.maskCounts?.(index)
  }

  sampleName(index: number): string {
    return this.#base.sampleName(index)
  }

  async load(index: number, geometry?: Geometry): Promise<Sample> {
    const key = geometry && geometry.key === null ? null : `${index} ${geometry?.key ?? ''}`
    const kept = key === null ? undefined : this.#kept.get(key)
    if (kept) return kept
    const sample = await this.#base.load(index, geometry)
    const arrays = [
      ...sample.inputs.map(({ data }) => data),
      ...(sample.masks ?? []).map(({ labels }) => labels),
    ]
    const bytes = arrays.reduce((sum, { byteLength }) => sum + byteLength, 0)
    if (key !== null && !this.#kept.has(key) && this.#bytes + bytes <= this.#capacity) {
      this.#kept.set(key, sample)
      this.#bytes += bytes
    }
    return sample
  }
}

/** A data set that keeps up to `capacity` bytes of decoded images; one in memory already is returned as it is. */
export function withCache(dataset: Dataset, capacity: number): Dataset {
  return dataset.columns === null && capacity > 0 ? new CachedDataset(dataset, capacity) : dataset
}
