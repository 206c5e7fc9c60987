/** Small data sets made of numbers, for tests. */

import { ArrayDataset, type ArrayDatasetOptions } from '../../src/data/array-dataset.ts'
import type { Dataset, Sample, SampleInput } from '../../src/data/dataset.ts'
import type { Geometry } from '../../src/data/geometry.ts'
import type { ImageTransforms } from '../../src/data/transforms.ts'

/** Rows of one number each, equal to the row's index, with these labels. */
export function labelled(labels: readonly number[], options: ArrayDatasetOptions = {}): ArrayDataset {
  const data = Float32Array.from(labels, (_, i) => i)
  return new ArrayDataset(
    'made',
    [{ name: '0', dims: [labels.length, 1], data }],
    { name: 'y', dims: [labels.length], data: Int32Array.from(labels), integer: true },
    options,
  )
}

/** Byte images [height, width] (HW), pixel p of image i being (31 i + 7 p) mod 256, labels i mod 3. */
export function images(count: number, height: number, width: number): ArrayDataset {
  const size = height * width
  const data = Uint8Array.from({ length: count * size }, (_, at) => {
    return (31 * Math.floor(at / size) + 7 * (at % size)) & 255
  })
  return new ArrayDataset(
    'images',
    [{ name: '0', dims: [count, height, width], data }],
    { name: 'y', dims: [count], data: Uint8Array.from({ length: count }, (_, i) => i % 3), integer: true },
    {},
  )
}

/** The same samples without their columns, as if each had to be fetched. Counts what is fetched. */
export class Fetched implements Dataset {
  readonly base: Dataset
  readonly loads: number[] = []
  /** Fails at this sample. */
  readonly broken: number | undefined
  running = 0
  most = 0

  constructor(base: Dataset, broken?: number) {
    this.base = base
    this.broken = broken
  }

  readonly columns = null
  get name() {
    return this.base.name
  }
  get length() {
    return this.base.length
  }
  get fields() {
    return this.base.fields
  }
  get targets() {
    return this.base.targets
  }
  get classes() {
    return this.base.classes
  }
  get notes() {
    return this.base.notes
  }
  label(index: number) {
    return this.base.label(index)
  }
  target(index: number, target?: number) {
    return this.base.target(index, target)
  }
  sampleName(index: number) {
    return this.base.sampleName(index)
  }

  async load(index: number, geometry?: Geometry): Promise<Sample> {
    this.loads.push(index)
    this.most = Math.max(this.most, ++this.running)
    await new Promise(resolve => setTimeout(resolve, index % 3))
    this.running--
    if (index === this.broken) throw new Error(`sample ${index} is broken`)
    return this.base.load(index, geometry)
  }
}

/** Pixels as they are. */
export const RAW: ImageTransforms = {
  kind: 'image',
  resize: null,
  resample: 'exact',
  crop: null,
  augment: null,
  channels: null,
  divide: 1,
  mean: [0],
  std: [1],
  layout: 'NCHW',
}

export function input(dims: readonly number[], layout: SampleInput['layout'], data: number[]): SampleInput {
  return { dims, layout, data: Uint8Array.from(data) }
}
