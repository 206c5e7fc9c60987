/** Opens a data set of any known kind, by looking at what is there. */

import { stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { FileSource } from '../tensor/file-source.ts'
import { InputError, UsageError } from '../util/errors.ts'
import { locateArrays, type ArrayChoice, type TargetChoice } from './array-files.ts'
import type { ArrayDatasetOptions } from './array-dataset.ts'
import { isGzip, loadUnpacked } from './bytes.ts'
import { locateClassJson } from './class-json.ts'
import type { Dataset } from './dataset.ts'
import { locateIdx, locateIdxPair } from './idx-files.ts'
import { isIdx } from './idx.ts'
import { classFolders, isImageName, listEntries, openImageFolder } from './image-folder.ts'
import { locateMasks } from './mask/locate-masks.ts'
import { openNpz, storeOfNpyFiles } from './npz.ts'
import { openBothSplits, openSplit, splitOf, type Located, type OpenPart, type Split } from './splits.ts'
import { locateTable, locateTables } from './table/locate-tables.ts'
import type { TableChoice } from './table/open-table.ts'
import { isTableName } from './table/table.ts'
import { limitDataset, quoteSome, selectClasses } from './subset.ts'

export interface OpenOptions extends ArrayChoice, Omit<TableChoice, 'targetKind' | 'ignoreIndex'> {
  /** Which part; by default the usual part of data that have parts, else everything. */
  readonly split?: Split
  /** The part that is meant where `split` says nothing; `train` by default. */
  readonly usual?: 'train' | 'val'
  /** The part held out of data that have no parts, when one is asked for; 0.1 by default. */
  readonly holdOut?: number
  readonly seed?: number
  /** The names of labels 0, 1, ...: the mapping that a model was trained with. */
  readonly classNames?: readonly string[]
  /** Only these classes; the first becomes label 0, and so on. */
  readonly classes?: readonly string[]
  /** At most so many samples, balanced over the classes. */
  readonly limit?: number
  /**
   * Name of the targets: an array of an npz or npy folder, or the path of an npy or IDX file; or several arrays and the
   * outputs that they go with.
   */
  readonly targets?: string | readonly TargetChoice[]
  /** The class of elements (tokens, pixels) that have none; -100 by default. */
  readonly ignoreIndex?: number
  /** The numbers in mask files that are classes 0, 1, ...; by default the classes themselves. */
  readonly maskValues?: readonly number[]
}

const KINDS =
  'a folder of class folders with images, folders images and masks, IDX files (train-images-idx3-ubyte), an .npz or .npy files, class JSON files (0.json), or tables (.jsonl, .csv, .tsv, .parquet)'

/** Opens a data set, or one part of it. */
export async function openDataset(path: string, options: OpenOptions = {}): Promise<Dataset> {
  const located = await locate(path, options)
  const dataset = await openSplit(located, options.split, splitOptions(options), options.classNames)
  return narrowed(dataset, options)
}

/** Opens the training and the validation data: parts that the files keep apart, else a seeded stratified split. */
export async function openTrainAndVal(
  path: string,
  options: Omit<OpenOptions, 'split'> = {},
): Promise<[Dataset, Dataset]> {
  const located = await locate(path, options)
  const [train, val] = await openBothSplits(located, splitOptions(options), options.classNames)
  return [narrowed(train, options), narrowed(val, options)]
}

function splitOptions({ holdOut = 0.1, seed = 0, usual = 'train' }: OpenOptions) {
  return { holdOut, seed, usual }
}

function narrowed(dataset: Dataset, { classes, limit, seed = 0 }: OpenOptions): Dataset {
  const selected = classes ? selectClasses(dataset, classes) : dataset
  return limit === undefined ? selected : limitDataset(selected, limit, seed)
}

async function locate(path: string, options: OpenOptions): Promise<Located> {
  const found = await stat(path).catch(() => null)
  if (found === null) throw new InputError(`data ${path}: no such file or folder`)
  return found.isDirectory() ? locateInFolder(path, options) : locateFile(path, options)
}

async function locateInFolder(path: string, options: OpenOptions): Promise<Located> {
  const entries = await listEntries(path)
  const files = entries.filter(entry => !entry.isFolder).map(entry => entry.name)
  const folders = entries.filter(entry => entry.isFolder).map(entry => entry.name)
  const idx = locateIdx(path, files, arrayOptions(options))
  if (idx) return idx
  const json = await locateClassJson(path)
  if (json) return json
  const npz = files.filter(name => name.endsWith('.npz'))
  if (npz.length === 1) return locateArrays(await openNpz(join(path, npz[0]!)), options)
  const npy = files.filter(name => name.endsWith('.npy'))
  if (npy.length > 0) return locateNpyFolder(path, npy, options)
  const tables = await locateTables(path, files, options)
  if (tables) return tables
  const masks = await locateMasks(path, folders, options)
  if (masks) return masks
  const images = await locateImages(path, folders)
  if (images) return images
  const loose = files.filter(isImageName).length
  const found = quoteSome(entries.map(entry => (entry.isFolder ? `${entry.name}/` : entry.name)))
  throw new InputError(`data ${path}: expected ${KINDS}; found ${found}`, {
    ...(loose > 0 ? { cure: `sort the ${loose} images into one folder for each class` } : {}),
  })
}

/** npy files of a folder; the targets may be given by path, and lie elsewhere. */
function locateNpyFolder(path: string, names: readonly string[], options: OpenOptions): Located {
  const files = names.map(name => join(path, name))
  const targets = oneTarget(path, options, true)
  if (!targets?.endsWith('.npy')) return locateArrays(storeOfNpyFiles(path, files), options)
  const others = files.filter(file => resolve(file) !== resolve(targets))
  return locateArrays(storeOfNpyFiles(path, [...others, targets]), {
    ...options,
    targets: basename(targets, '.npy'),
  })
}

/** Class folders, or folders named train, val, test with class folders in them. */
async function locateImages(path: string, folders: readonly string[]): Promise<Located | null> {
  const kind = 'image folder'
  const parts: Partial<Record<Split, OpenPart>> = {}
  for (const folder of folders) {
    const split = splitOf(folder)
    if (split === undefined) continue
    const root = join(path, folder)
    if ((await classFolders(root)).length === 0) continue
    if (parts[split]) throw new InputError(`${kind} ${path}: two folders hold the ${split} part`)
    const name = `${path} (${folder})`
    parts[split] = classNames => openImageFolder(root, { name, ...(classNames ? { classNames } : {}) })
  }
  const other = folders.filter(folder => splitOf(folder) === undefined)
  const found = Object.keys(parts)
  if (found.length > 0 && other.length > 0) {
    throw new InputError(
      `${kind} ${path}: folders of splits (${found.join(', ')}) beside ${quoteSome(other)}`,
      { cure: 'name one of the folders as the data' },
    )
  }
  if (found.length > 0) return { kind, path, parts }
  for (const folder of folders) {
    if (!(await holdsImages(join(path, folder)))) continue
    const whole: OpenPart = classNames => openImageFolder(path, classNames ? { classNames } : {})
    return { kind, path, parts: { whole } }
  }
  return null
}

async function holdsImages(folder: string, depth = 0): Promise<boolean> {
  const entries = await listEntries(folder)
  if (entries.some(({ name, isFolder }) => !isFolder && isImageName(name))) return true
  if (depth === 3) return false
  for (const { name, isFolder } of entries)
    if (isFolder && (await holdsImages(join(folder, name), depth + 1))) return true
  return false
}

async function locateFile(path: string, options: OpenOptions): Promise<Located> {
  if (path.endsWith('.npz')) return locateArrays(await openNpz(path), options)
  if (path.endsWith('.npy')) return locateNpyPair(path, options)
  if (isTableName(path)) return locateTable(path, options)
  if (isImageName(path))
    throw new InputError(`data ${path}: one image is no data set; name the folder of its class folder`)
  const start = await readStart(path)
  if (isIdx(isGzip(start) ? await loadUnpacked(path) : start))
    return locateIdxPair(path, oneTarget(path, options), arrayOptions(options))
  const magic = Buffer.from(start.subarray(0, 4)).toString('hex')
  throw new InputError(`data ${path}: expected ${KINDS}; found a file that starts with 0x${magic}`)
}

async function readStart(path: string): Promise<Uint8Array> {
  const source = await FileSource.open(path)
  try {
    return await source.read(0, Math.min(16, source.byteLength))
  } finally {
    await source.close()
  }
}

/** `x.npy` with its targets given by path. */
function locateNpyPair(path: string, options: OpenOptions): Located {
  const targets = oneTarget(path, options)
  if (targets === undefined)
    throw new UsageError(`data ${path}: an .npy file of inputs needs one of targets`, {
      cure: `name the file of targets, or the folder ${dirname(path)} that holds both`,
    })
  const [inputs, labels] = [basename(path, '.npy'), basename(targets, '.npy')]
  if (inputs === labels) throw new UsageError(`data ${path}: inputs and targets have the same name`)
  return locateArrays(storeOfNpyFiles(path, [path, targets]), { ...options, targets: labels })
}

/** The only target where a file holds one, undefined if none is named; several are arrays of a folder or an npz. */
function oneTarget(path: string, { targets }: OpenOptions, several = false): string | undefined {
  if (targets === undefined || typeof targets === 'string') return targets
  if (several) return undefined
  throw new UsageError(`data ${path}: expected one file of --targets, found ${targets.length} arrays`, {
    cure: 'several targets are arrays of an .npz file, or .npy files of one folder',
  })
}

function arrayOptions({ targetKind, layout, ignoreIndex }: OpenOptions): ArrayDatasetOptions {
  return {
    ...(targetKind ? { targetKind } : {}),
    ...(layout ? { layout } : {}),
    ...(ignoreIndex === undefined ? {} : { ignoreIndex }),
  }
}
