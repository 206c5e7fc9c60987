/** A folder of labelled images, `root/<class>/**\/name.jpg`: classes sorted by name, as torchvision's ImageFolder. */

import { readdir, stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { InputError, messageOf } from '../util/errors.ts'
import type { Dataset, Field, Sample, TargetField } from './dataset.ts'
import type { Geometry } from './geometry.ts'
import { decodeImage } from './image-decode.ts'
import { quoteSome } from './subset.ts'

/** What libvips decodes in sharp's prebuilt binaries. */
const IMAGES = new Set(['.jpg', '.jpeg', '.png', '.webp', '.tif', '.tiff', '.gif', '.avif'])
/** Images that it does not decode: leaving them out quietly would lose data. */
const UNDECODABLE = new Set([
  '.bmp',
  '.heic',
  '.heif',
  '.jp2',
  '.ppm',
  '.pgm',
  '.tga',
  '.psd',
  '.raw',
  '.dng',
])
const DEEPEST = 32

export function isImageName(name: string): boolean {
  return IMAGES.has(extname(name).toLowerCase())
}

class ImageFolder implements Dataset {
  readonly name: string
  readonly length: number
  readonly fields: readonly Field[] = [{ name: '0', layout: 'HWC', dims: null, dtype: 'uint8', range: null }]
  readonly targets: readonly TargetField[]
  readonly classes: readonly string[]
  readonly notes: readonly string[]
  readonly columns = null
  readonly #root: string
  readonly #files: readonly string[]
  readonly #labels: Int32Array

  constructor(root: string, name: string, classes: readonly string[], list: ImageList) {
    this.name = name
    this.length = list.files.length
    this.classes = classes
    this.targets = [{ name: '0', kind: 'class', dims: [], classes }]
    this.notes = list.notes
    this.#root = root
    this.#files = list.files
    this.#labels = Int32Array.from(list.labels)
  }

  label(index: number): number {
    return this.#labels[index]!
  }

  target(index: number): number {
    return this.label(index)
  }

  sampleName(index: number): string {
    return this.#files[index]!
  }

  async load(index: number, geometry?: Geometry): Promise<Sample> {
    return { inputs: [await decodeImage(join(this.#root, this.#files[index]!), geometry)] }
  }
}

interface ImageList {
  /** Paths relative to the root. */
  readonly files: string[]
  readonly labels: number[]
  readonly notes: string[]
}

export interface ImageFolderOptions {
  /** For messages; the root by default. */
  readonly name?: string
  /** The classes of labels 0, 1, ... that a model was trained with; a folder of another name is an error. */
  readonly classNames?: readonly string[]
}

/** Lists the images of a folder; none is decoded yet. */
export async function openImageFolder(root: string, options: ImageFolderOptions = {}): Promise<Dataset> {
  const entries = await listEntries(root)
  const folders = entries.filter(entry => entry.isFolder).map(entry => entry.name)
  if (folders.length === 0)
    throw new InputError(`image folder ${root}: expected a folder for each class, found none`)
  const classes = options.classNames ?? folders
  const unknown = folders.filter(folder => !classes.includes(folder))
  if (unknown.length > 0) {
    throw new InputError(
      `image folder ${root}: class ${quoteSome(unknown)} is not among the known classes ${quoteSome(classes)}`,
    )
  }
  const loose = entries.filter(entry => !entry.isFolder && isImageName(entry.name)).length
  const notes = loose > 0 ? [`${root}: ${loose} images beside the class folders left out`] : []
  const list: ImageList = { files: [], labels: [], notes }
  for (const folder of folders) {
    const images = await listImages(root, folder, 0)
    if (images.length === 0)
      throw new InputError(
        `image folder ${root}: class '${folder}' has no images (${[...IMAGES].join(', ')})`,
        { cure: 'add images to the folder or remove it' },
      )
    const label = classes.indexOf(folder)
    for (const image of images.sort(byCodeUnits)) {
      list.files.push(image)
      list.labels.push(label)
    }
  }
  return new ImageFolder(root, options.name ?? root, classes, list)
}

/** The names of the folders in a folder, hidden ones left out, sorted. */
export async function classFolders(root: string): Promise<string[]> {
  const entries = await listEntries(root)
  return entries.filter(entry => entry.isFolder).map(entry => entry.name)
}

interface Entry {
  readonly name: string
  readonly isFolder: boolean
}

/** What is in a folder, sorted; links are followed, hidden names (.git, .DS_Store) are no data. */
export async function listEntries(folder: string): Promise<Entry[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true })
    const visible = entries.filter(entry => !entry.name.startsWith('.') && entry.name !== '__MACOSX')
    const found = await Promise.all(
      visible.map(async entry => {
        const isFolder = entry.isSymbolicLink()
          ? (await stat(join(folder, entry.name))).isDirectory()
          : entry.isDirectory()
        return { name: entry.name, isFolder }
      }),
    )
    return found.sort((a, b) => byCodeUnits(a.name, b.name))
  } catch (error) {
    throw new InputError(`folder ${folder}: ${messageOf(error)}`, { cause: error })
  }
}

/** The images under a folder, as paths relative to `root`. */
async function listImages(root: string, folder: string, depth: number): Promise<string[]> {
  if (depth > DEEPEST)
    throw new InputError(`image folder ${root}: '${folder}' is more than ${DEEPEST} folders deep`)
  const images: string[] = []
  for (const { name, isFolder } of await listEntries(join(root, folder))) {
    const path = `${folder}/${name}`
    if (isFolder) images.push(...(await listImages(root, path, depth + 1)))
    else if (isImageName(name)) images.push(path)
    else if (UNDECODABLE.has(extname(name).toLowerCase()))
      throw new InputError(`image folder ${root}: '${path}' is of a kind that cannot be decoded`, {
        cure: 'convert it to PNG or JPEG',
      })
  }
  return images
}

/** The order of JavaScript and Python strings, not that of a language. */
function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
