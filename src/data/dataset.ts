/** What a data set is: numbered samples, each with one or more inputs and one or more targets. */

import { sizeOf, type Shape } from '../tensor/shape.ts'
import type { Elements } from './elements.ts'
import type { Geometry } from './geometry.ts'

/** How the dims of one sample are to be read: as an image, or as plain numbers. */
export type FieldLayout = 'HWC' | 'CHW' | 'HW' | 'plain'

/** One input of every sample. */
export interface Field {
  /** The model input that it feeds; a decimal number means the model's input at that position. */
  readonly name: string
  readonly layout: FieldLayout
  /** Dims of one sample; null when images differ in size. */
  readonly dims: Shape | null
  readonly dtype: 'uint8' | 'int32' | 'float32'
  /** Smallest and largest value, where all are in memory. */
  readonly range: readonly [number, number] | null
}

/** One input of one sample: raw pixels or plain numbers. */
export interface SampleInput {
  readonly data: Elements
  readonly dims: Shape
  readonly layout: FieldLayout
}

/** One class of many; for each class yes or no; numbers to be predicted. */
export type TargetKind = 'class' | 'multilabel' | 'values'

/** One target of every sample. */
export interface TargetField {
  /** The model output that it belongs to; a decimal number means the output at that position, an only '0' any output. */
  readonly name: string
  readonly kind: TargetKind
  /**
   * Dims of one sample: `[]` for one class, [length] for a class for each token, [height, width] for each pixel ([0, 0]
   * for masks of several sizes).
   */
  readonly dims: Shape
  /** Class names by index; null exactly when the target is values. */
  readonly classes: readonly string[] | null
  /** What makes it the mask of an image; absent if it is none. */
  readonly mask?: MaskOf
  /** The model output that it was given to by name, or by position; absent where its own name says it. */
  readonly output?: string | number
}

/** A class for each pixel of an image: it is cut, scaled and moved as its image is. */
export interface MaskOf {
  /** The name of the field. */
  readonly field: string
  /** The class of pixels that have none. */
  readonly ignored: number
}

/** Classes of pixels, row by row. */
export interface Mask extends ImageSize {
  readonly labels: Int32Array
}

/** A class index, the classes of all elements (tokens, pixels), or numbers: values, or 0 and 1 for each class. */
export type Target = number | Int32Array | Float32Array

export interface Sample {
  /** Aligned with the data set's fields. */
  readonly inputs: readonly SampleInput[]
  /** Masks that were decoded with the images, aligned with the data set's targets; others `target` gives. */
  readonly masks?: readonly Mask[]
}

/** Samples that are in memory, so that a batch is written without an object for each sample. */
export interface Columns {
  /** Whole arrays, aligned with the data set's fields; row r of a field starts at r * size. */
  readonly inputs: readonly Elements[]
  /** The row of each sample; null when sample i is row i. */
  readonly rows: Uint32Array | null
}

export interface Dataset {
  /** For messages: the path, and the split where there is one. */
  readonly name: string
  readonly length: number
  readonly fields: readonly Field[]
  /** One or more. The first is the main one: its classes are what splits and limits balance. */
  readonly targets: readonly TargetField[]
  /** Class names of the main target; null when it is values. */
  readonly classes: readonly string[] | null
  /** What a person should know about how the files were read, e.g. rows left out and why. */
  readonly notes: readonly string[]
  /** The samples' memory, if all of them are in it. */
  readonly columns: Columns | null
  /** The class of a sample in the main target, without decoding it; null where that is not one class a sample. */
  label(index: number): number | null
  /** One target of a sample, the main one by default; masks in files are no part of it, `load` gives them. */
  target(index: number, target?: number): Target
  /** Pixels of each class in the mask of a sample, of data sets whose masks are in files; those without a class are left out. */
  maskCounts?(index: number): Uint32Array | undefined
  /** For messages: the file, or the row. */
  sampleName(index: number): string
  /** Decodes a sample; `geometry` says which part of an image is wanted, at which size. */
  load(index: number, geometry?: Geometry): Promise<Sample>
}

export interface ImageSize {
  readonly height: number
  readonly width: number
}

export interface ImageDims extends ImageSize {
  readonly channels: number
}

/** Height, width and channels of an image field; null for plain numbers. */
export function imageDims(dims: Shape, layout: FieldLayout): ImageDims | null {
  const [a, b, c] = dims
  switch (layout) {
    case 'HWC':
      return { height: a!, width: b!, channels: c! }
    case 'CHW':
      return { height: b!, width: c!, channels: a! }
    case 'HW':
      return { height: a!, width: b!, channels: 1 }
    case 'plain':
      return null
  }
}

/** The layout that dims of one sample most likely have. */
export function guessLayout(dims: Shape): FieldLayout {
  if (dims.length === 2) return Math.min(...dims) >= 2 ? 'HW' : 'plain'
  if (dims.length !== 3) return 'plain'
  const first = dims[0] === 1 || dims[0] === 3
  const last = dims[2] === 1 || dims[2] === 3 || dims[2] === 4
  return first === last ? 'plain' : last ? 'HWC' : 'CHW'
}

/** The target that a data set with one target has, and the first of several. */
export function mainTarget({ targets }: Dataset): TargetField {
  return targets[0]!
}

/** Whether every sample is of one class, which its label says. */
export function hasLabels(dataset: Dataset): boolean {
  const { kind, dims } = mainTarget(dataset)
  return kind === 'class' && dims.length === 0
}

/** Samples of each class of the main target. */
export function classCounts(dataset: Dataset): number[] {
  if (!hasLabels(dataset)) return []
  const counts = new Array<number>(dataset.classes!.length).fill(0)
  for (let i = 0; i < dataset.length; i++) counts[dataset.label(i)!]!++
  return counts
}

/** What a run's config.json stores about its data. */
export interface DatasetSummary {
  readonly name: string
  readonly length: number
  readonly classes: readonly string[] | null
  readonly classCounts: readonly number[] | null
  readonly inputs: readonly Pick<Field, 'name' | 'layout' | 'dims' | 'dtype'>[]
  readonly targets: readonly Omit<TargetField, 'classes'>[]
  readonly notes: readonly string[]
}

export function summarizeDataset(dataset: Dataset): DatasetSummary {
  const { name, length, classes, notes } = dataset
  return {
    name,
    length,
    classes,
    classCounts: hasLabels(dataset) ? classCounts(dataset) : null,
    inputs: dataset.fields.map(({ name, layout, dims, dtype }) => ({ name, layout, dims, dtype })),
    targets: dataset.targets.map(({ name, kind, dims }) => ({ name, kind, dims })),
    notes,
  }
}

/** Numbers of one sample of a field in memory. */
export function fieldSize(field: Field): number {
  return sizeOf(field.dims ?? [])
}
