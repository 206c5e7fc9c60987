/** The parts of a data set: train, validation and test, as the files keep them apart or as a seeded split makes them. */

import { InputError } from '../util/errors.ts'
import type { Dataset } from './dataset.ts'
import { splitDataset } from './subset.ts'

export type Split = 'train' | 'val' | 'test'

/** Opens one part; `classNames` are the names of labels 0, 1, ... that the part must keep to. */
export type OpenPart = (classNames: readonly string[] | undefined) => Promise<Dataset>

/** What was recognised at a path, before the samples are read. */
export interface Located {
  readonly kind:
    'image folder' | 'mask folder' | 'IDX files' | 'npy files' | 'npz file' | 'class JSON files' | 'table'
  readonly path: string
  /** `whole` is data that know no split. */
  readonly parts: Readonly<Partial<Record<Split | 'whole', OpenPart>>>
}

/** Names of splits in file and folder names. */
const SPLITS: Readonly<Record<string, Split>> = {
  train: 'train',
  training: 'train',
  val: 'val',
  valid: 'val',
  validation: 'val',
  test: 'test',
  testing: 'test',
  t10k: 'test',
}

/** The split that a folder's name means. */
export function splitOf(name: string): Split | undefined {
  return SPLITS[name.toLowerCase()]
}

/** `x_train`, `train_images`, `valX` -> split and the rest of the name. */
export function splitName(name: string): { split: Split | 'whole'; rest: string } {
  const lower = name.toLowerCase()
  const words = Object.keys(SPLITS).join('|')
  const before = new RegExp(`^(${words})[-_. ]?(.+)$`).exec(lower)
  if (before) return { split: SPLITS[before[1]!]!, rest: before[2]! }
  const after = new RegExp(`^(.+?)[-_. ]?(${words})$`).exec(lower)
  if (after) return { split: SPLITS[after[2]!]!, rest: after[1]! }
  return { split: 'whole', rest: lower }
}

export interface SplitOptions {
  /** The part that is held out of data without a validation part. */
  readonly holdOut: number
  readonly seed: number
  /** The part that is meant where none is asked for and the data have parts. */
  readonly usual?: 'train' | 'val'
}

/**
 * Opens a part.
 * 1. No split asked for: data without parts are opened whole, others give their usual part, for training unless told.
 * 2. `val` and `test` stand in for each other where only one exists.
 * 3. Data without parts are split: `train` is all but the held-out part, `val` and `test` are the held-out part.
 */
export async function openSplit(
  { kind, path, parts }: Located,
  split: Split | undefined,
  options: SplitOptions,
  classNames: readonly string[] | undefined,
): Promise<Dataset> {
  const held = parts.val ?? parts.test
  const own = {
    none: parts.whole ?? (options.usual === 'val' ? (held ?? parts.train) : parts.train),
    train: parts.train,
    val: held,
    test: parts.test ?? parts.val,
  }[split ?? 'none']
  if (own) return own(classNames)
  if (split && parts.whole) {
    const [train, rest] = splitDataset(await parts.whole(classNames), options.holdOut, options.seed)
    return split === 'train' ? train : rest
  }
  throw new InputError(
    `${kind} ${path}: there is no ${split ?? 'train'} part, only ${Object.keys(parts).join(', ')}`,
  )
}

/** Opens the training and the validation part, the second with the classes of the first. */
export async function openBothSplits(
  { kind, path, parts }: Located,
  options: SplitOptions,
  classNames: readonly string[] | undefined,
): Promise<[Dataset, Dataset]> {
  const openTrain = parts.train ?? parts.whole
  if (!openTrain)
    throw new InputError(`${kind} ${path}: there is no train part, only ${Object.keys(parts).join(', ')}`)
  const train = await openTrain(classNames)
  const openHeld = parts.train && (parts.val ?? parts.test)
  if (openHeld) return [train, await openHeld(classNames ?? train.classes ?? undefined)]
  return splitDataset(train, options.holdOut, options.seed)
}
