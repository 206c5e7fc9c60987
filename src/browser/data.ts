/** What a page has of data: arrays, or a Dataset of the library. */

import { ArrayDataset } from '../data/array-dataset.ts'
import type { Dataset } from '../data/dataset.ts'
import type { Elements } from '../data/elements.ts'
import { limitDataset, splitDataset } from '../data/subset.ts'
import type { Shape } from '../tensor/shape.ts'

/** Labelled samples in memory. */
export interface ArrayData {
  /** For messages. */
  readonly name?: string
  /** All samples, one after the other: pixels 0 to 255 in a Uint8Array, or numbers. */
  readonly images: Elements
  /** Number of samples first: [n, height, width], [n, height, width, channels], [n, channels, height, width], [n, features]. */
  readonly dims: Shape
  /** A class for each sample. */
  readonly labels: Uint8Array | Int32Array | readonly number[]
  /** Names of classes 0, 1, ... */
  readonly classNames?: readonly string[]
}

export type BrowserData = Dataset | ArrayData

export function datasetOf(data: BrowserData): Dataset {
  if (!('images' in data)) return data
  const { name = 'data', images, dims, labels, classNames } = data
  const classes =
    labels instanceof Uint8Array || labels instanceof Int32Array ? labels : Int32Array.from(labels)
  return new ArrayDataset(
    name,
    [{ name: '0', dims, data: images }],
    { name: 'labels', dims: [classes.length], data: classes, integer: true },
    { targetKind: 'class', ...(classNames ? { classNames } : {}) },
  )
}

/** Training and validation data: those given, else a share held out as the commands do it. */
export function trainAndVal(
  data: BrowserData,
  val: BrowserData | undefined,
  {
    holdOut,
    seed,
    limit,
  }: { readonly holdOut: number; readonly seed: number; readonly limit: number | null },
): { train: Dataset; val: Dataset | null } {
  const narrowed = (dataset: Dataset) => (limit === null ? dataset : limitDataset(dataset, limit, seed))
  const train = datasetOf(data)
  if (val !== undefined) return { train: narrowed(train), val: narrowed(datasetOf(val)) }
  if (holdOut === 0) return { train: narrowed(train), val: null }
  const [rest, held] = splitDataset(train, holdOut, seed)
  return { train: narrowed(rest), val: narrowed(held) }
}
