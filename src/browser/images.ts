/** Labelled image files that a person chose in a page: `class/name.jpg`, or `train/class/...` and `val/class/...`. */

import type { Dataset, Field, Sample, TargetField } from '../data/dataset.ts'
import type { Geometry } from '../data/geometry.ts'
import { withCache } from '../data/image-cache.ts'
import { splitOf } from '../data/splits.ts'
import { quoteSome } from '../data/subset.ts'
import { InputError } from '../util/errors.ts'
import { decodeBlob } from './canvas.ts'

export interface ImageFile {
  /** The path below the chosen folder, with `/`: `cat/1.jpg`. */
  readonly path: string
  readonly blob: Blob
}

export interface ImageParts {
  readonly train: Dataset
  /** The images of a folder `val`, `valid`, `test`, ...; null when the files are not kept apart. */
  readonly val: Dataset | null
}

/** What browsers decode. */
const IMAGES = /\.(jpe?g|png|webp|gif|avif|bmp)$/i
/** Images that they do not decode: leaving them out quietly would lose data. */
const UNDECODABLE = /\.(tiff?|heic|heif|jp2|ppm|pgm|tga|psd|raw|dng)$/i
/** Decoded pixels that are kept for later epochs. */
const CACHE_BYTES = 512 * 2 ** 20

/** Sorts files into classes by their folders, as `swa-onnx finetune --data folder` does; none is decoded yet. */
export function openImages(files: readonly ImageFile[], name = 'images'): ImageParts {
  const visible = files.filter(({ path }) => !path.split('/').some(part => part.startsWith('.')))
  const bad = visible.find(({ path }) => UNDECODABLE.test(path))
  if (bad) {
    throw new InputError(`${name}: "${bad.path}" is of a kind that browsers do not decode`, {
      cure: 'convert it to PNG or JPEG',
    })
  }
  const images = visible.filter(({ path }) => IMAGES.test(path))
  const parts = new Map<string, ImageFile[]>()
  for (const file of images) {
    const [first = '', ...rest] = file.path.split('/')
    const split = rest.length >= 2 ? splitOf(first) : undefined
    const part = split ?? 'whole'
    const path = split ? rest.join('/') : file.path
    parts.set(part, [...(parts.get(part) ?? []), { ...file, path }])
  }
  const train = parts.get('train')
  if (!train) return { train: labelled(images, name, null), val: null }
  const held = parts.get('val') ?? parts.get('test')
  const dataset = labelled(train, `${name} (train)`, null)
  return { train: dataset, val: held ? labelled(held, `${name} (val)`, dataset.classes) : null }
}

function labelled(files: readonly ImageFile[], name: string, known: readonly string[] | null): Dataset {
  const inClasses = files.filter(({ path }) => path.includes('/'))
  const classOf = ({ path }: ImageFile) => path.slice(0, path.indexOf('/'))
  const found = [...new Set(inClasses.map(classOf))].sort()
  if (found.length === 0) {
    throw new InputError(`${name}: expected a folder for each class with images in it, found none`, {
      cure: 'choose a folder that holds one folder for each class, named after it',
    })
  }
  const classes = known ?? found
  const unknown = found.filter(folder => !classes.includes(folder))
  if (unknown.length > 0) {
    throw new InputError(`${name}: class ${quoteSome(unknown)} is not among ${quoteSome(classes)}`)
  }
  const sorted = [...inClasses].sort((a, b) => (a.path < b.path ? -1 : 1))
  const labels = sorted.map(file => classes.indexOf(classOf(file)))
  const loose = files.length - inClasses.length
  const notes = loose > 0 ? [`${name}: ${loose} images beside the class folders left out`] : []
  return withCache(new BlobImages(name, classes, sorted, labels, notes), CACHE_BYTES)
}

class BlobImages implements Dataset {
  readonly name: string
  readonly length: number
  readonly fields: readonly Field[] = [{ name: '0', layout: 'HWC', dims: null, dtype: 'uint8', range: null }]
  readonly targets: readonly TargetField[]
  readonly classes: readonly string[]
  readonly notes: readonly string[]
  readonly columns = null
  readonly #files: readonly ImageFile[]
  readonly #labels: readonly number[]

  constructor(
    name: string,
    classes: readonly string[],
    files: readonly ImageFile[],
    labels: readonly number[],
    notes: readonly string[],
  ) {
    this.name = name
    this.length = files.length
    this.classes = classes
    this.targets = [{ name: '0', kind: 'class', dims: [], classes }]
    this.notes = notes
    this.#files = files
    this.#labels = labels
  }

  label(index: number): number {
    return this.#labels[index]!
  }

  target(index: number): number {
    return this.label(index)
  }

  sampleName(index: number): string {
    return this.#files[index]!.path
  }

  async load(index: number, geometry?: Geometry): Promise<Sample> {
    const { blob, path } = this.#files[index]!
    return { inputs: [await decodeBlob(blob, path, geometry)] }
  }
}
