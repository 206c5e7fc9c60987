/** Images and their masks in two folders, `images/a.jpg` and `masks/a.png`: a mask's number is the class of its pixel. */

import { availableParallelism } from 'node:os'
import { basename, extname, join } from 'node:path'
import { InputError, UsageError } from '../../util/errors.ts'
import { IGNORED } from '../array-targets.ts'
import type { Dataset, Field, Mask, Sample, TargetField } from '../dataset.ts'
import type { Geometry } from '../geometry.ts'
import { decodeImage, readImageSize } from '../image-decode.ts'
import { isImageName, listEntries } from '../image-folder.ts'
import { Limiter } from '../prefetch.ts'
import { quoteSome } from '../subset.ts'
import { readPngLevels, type PngLevels } from './png-mask.ts'

export interface MaskChoice {
  /** The numbers that are classes 0, 1, ...; by default the classes themselves. */
  readonly maskValues?: readonly number[]
  /**
   * The class of pixels that have none. Where files can hold it (from 0 on), it is their number for that; else that is 255,
   * as usual in data sets.
   */
  readonly ignoreIndex?: number
}

export interface MaskFolderOptions extends MaskChoice {
  /** For messages. */
  readonly name: string
  readonly classNames?: readonly string[]
}

/** What stands for pixels without a class in files, unless it is said. */
const USUALLY_IGNORED = 255
const LEVELS = 2 ** 16
/** In the table of labels: a number that is no class. */
const STRANGE = -(2 ** 31)
const CURE =
  '--class-names names all classes, --mask-values says which numbers are classes 0, 1, ..., --ignore-index which one stands for none'

interface Pair {
  readonly image: string
  readonly mask: string
}

class MaskFolder implements Dataset {
  readonly name: string
  readonly length: number
  readonly fields: readonly Field[] = [{ name: '0', layout: 'HWC', dims: null, dtype: 'uint8', range: null }]
  readonly targets: readonly TargetField[]
  readonly classes: readonly string[]
  readonly notes: readonly string[] = []
  readonly columns = null
  readonly #pairs: readonly Pair[]
  readonly #reader: LabelReader
  readonly #counts: readonly Uint32Array[]

  constructor(
    name: string,
    target: TargetField,
    pairs: readonly Pair[],
    reader: LabelReader,
    counts: readonly Uint32Array[],
  ) {
    this.name = name
    this.length = pairs.length
    this.targets = [target]
    this.classes = target.classes!
    this.#pairs = pairs
    this.#reader = reader
    this.#counts = counts
  }

  label(): null {
    return null
  }

  target(index: number): never {
    throw new UsageError(`${this.name}: the mask of sample ${index} is in a file, which load() reads`)
  }

  maskCounts(index: number): Uint32Array {
    return this.#counts[index]!
  }

  sampleName(index: number): string {
    return basename(this.#pairs[index]!.image)
  }

  async load(index: number, geometry?: Geometry): Promise<Sample> {
    const { image, mask } = this.#pairs[index]!
    const [input, levels] = await Promise.all([decodeImage(image, geometry), readPngLevels(mask)])
    return { inputs: [input], masks: [this.#reader.read(mask, levels)] }
  }
}

/**
 * Pairs the files by their names without endings and looks at all masks once: their classes are known then, and what is
 * wrong with a file shows before anything is trained.
 */
export async function openMaskFolder(
  images: string,
  masks: string,
  options: MaskFolderOptions,
): Promise<Dataset> {
  const pairs = await pairFiles(images, masks)
  const reader = new LabelReader(options)
  const limiter = new Limiter(availableParallelism())
  const looked = await inOrder(pairs.map(pair => limiter.run(() => look(pair, reader))))
  const highest = looked.reduce((most, { counts }) => Math.max(most, counts.length), 0)
  const { name, classNames } = options
  if (highest === 0)
    throw new InputError(`mask folder ${masks}: no pixel of ${pairs.length} masks has a class`, {
      cure: CURE,
    })
  checkBlackAndWhite(masks, looked, highest, reader)
  const classes = classNames ?? Array.from({ length: highest }, (_, label) => String(label))
  const [{ height, width }] = looked as [Looked, ...Looked[]]
  const same = looked.every(mask => mask.height === height && mask.width === width)
  const target: TargetField = {
    ...{ name: '0', kind: 'class', dims: same ? [height, width] : [0, 0], classes },
    mask: { field: '0', ignored: reader.ignored },
  }
  return new MaskFolder(
    name,
    target,
    pairs,
    reader,
    looked.map(({ counts }) => counts),
  )
}

/** All results; the first failure in the order of the files is the one that is told. */
async function inOrder<T>(tasks: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(tasks)
  return results.map(result => {
    if (result.status === 'rejected') throw result.reason
    return result.value
  })
}

interface Looked {
  readonly height: number
  readonly width: number
  readonly counts: Uint32Array
  readonly ignored: number
}

async function look({ image, mask }: Pair, reader: LabelReader): Promise<Looked> {
  const [size, levels] = await Promise.all([readImageSize(image), readPngLevels(mask)])
  const { height, width } = levels
  if (size.height !== height || size.width !== width) {
    throw new InputError(
      `mask ${mask}: it is ${height}x${width}, its image ${image} ${size.height}x${size.width} (height x width)`,
      { cure: 'masks need the size of their images: make the pair again at one size' },
    )
  }
  return { height, width, ...reader.count(mask, levels) }
}

/** From the numbers of files to classes. */
class LabelReader {
  /** The class of pixels that have none, as losses know it. */
  readonly ignored: number
  /** Whether numbers mean what is usual, not what was asked for. */
  readonly usual: boolean
  readonly #table = new Int32Array(LEVELS).fill(STRANGE)
  readonly #expected: string

  constructor({ maskValues, ignoreIndex, classNames }: MaskFolderOptions) {
    this.ignored = ignoreIndex ?? IGNORED
    this.usual = this.ignored < 0 && !maskValues
    const most = classNames?.length ?? LEVELS
    const values = maskValues ?? Array.from({ length: most }, (_, label) => label)
    if (values.length > most)
      throw new UsageError(`--mask-values: ${values.length} numbers for ${most} known classes`)
    if (maskValues && this.ignored >= 0 && (this.ignored < values.length || values.includes(this.ignored)))
      throw new UsageError(
        `--ignore-index ${this.ignored}: with --mask-values ${values.join()} it would be a class`,
        { cure: 'leave out one of them' },
      )
    values.forEach((value, label) => (this.#table[value] = label))
    const stored =
      this.ignored >= 0 ? this.ignored : maskValues?.includes(USUALLY_IGNORED) ? null : USUALLY_IGNORED
    if (stored !== null) this.#table[stored] = this.ignored
    const list = maskValues ? `one of ${maskValues.join(', ')}` : `a class from 0 to ${most - 1}`
    this.#expected = stored === null ? list : `${list}, or ${stored} where there is none`
  }

  /** The classes of a mask. */
  read(path: string, { height, width, levels }: PngLevels): Mask {
    const table = this.#table
    const labels = new Int32Array(levels.length)
    for (let i = 0; i < levels.length; i++) labels[i] = table[levels[i]!]!
    if (labels.includes(STRANGE)) throw this.#strange(path, width, levels)
    return { height, width, labels }
  }

  /** Pixels of each class up to the highest that occurs, and those without a class. */
  count(path: string, { width, levels }: PngLevels): { counts: Uint32Array; ignored: number } {
    const byLevel = new Uint32Array(levels instanceof Uint8Array ? 256 : LEVELS)
    for (let i = 0; i < levels.length; i++) byLevel[levels[i]!]!++
    const counts = new Uint32Array(LEVELS)
    let [ignored, classes] = [0, 0]
    byLevel.forEach((count, level) => {
      if (count === 0) return
      const label = this.#table[level]!
      if (label === STRANGE) throw this.#strange(path, width, levels)
      if (label === this.ignored) ignored += count
      else {
        counts[label]! += count
        classes = Math.max(classes, label + 1)
      }
    })
    return { counts: counts.slice(0, classes), ignored }
  }

  #strange(path: string, width: number, levels: PngLevels['levels']): InputError {
    const at = levels.findIndex((level: number) => this.#table[level] === STRANGE)
    return new InputError(
      `mask ${path}: ${levels[at]!} at row ${Math.floor(at / width)}, column ${at % width}: expected ${this.#expected}`,
      { cure: CURE },
    )
  }
}

/** Black and white masks mean two classes; read as usual, all of their white would be left out. */
function checkBlackAndWhite(
  masks: string,
  looked: readonly Looked[],
  classes: number,
  { usual }: LabelReader,
): void {
  if (!usual || classes > 1 || looked.every(({ ignored }) => ignored === 0)) return
  throw new InputError(
    `mask folder ${masks}: masks hold 0 and ${USUALLY_IGNORED} alone, and ${USUALLY_IGNORED} stands for pixels without a class`,
    { cure: `if white is class 1, say so with --mask-values 0,${USUALLY_IGNORED}` },
  )
}

/** Images with the masks of the same name; none may be without the other. */
async function pairFiles(images: string, masks: string): Promise<Pair[]> {
  const imageFiles = await filesByStem(images, isImageName, 'images')
  const maskFiles = await filesByStem(masks, name => extname(name).toLowerCase() === '.png', 'PNG masks')
  const missing = [...imageFiles].filter(([stem]) => !maskFiles.has(stem)).map(([, name]) => name)
  if (missing.length > 0)
    throw new InputError(`mask folder ${masks}: no mask for ${quoteSome(missing)} of ${images}`, {
      cure: 'a mask is a PNG with the name of its image; take images without one out of the folder',
    })
  const single = [...maskFiles].filter(([stem]) => !imageFiles.has(stem)).map(([, name]) => name)
  if (single.length > 0)
    throw new InputError(`mask folder ${masks}: no image in ${images} for ${quoteSome(single)}`, {
      cure: 'a mask has the name of its image; take masks without one out of the folder',
    })
  return [...imageFiles].map(([stem, name]) => ({
    image: join(images, name),
    mask: join(masks, maskFiles.get(stem)!),
  }))
}

async function filesByStem(
  folder: string,
  fits: (name: string) => boolean,
  what: string,
): Promise<Map<string, string>> {
  const entries = await listEntries(folder)
  const stems = new Map<string, string>()
  for (const { name, isFolder } of entries) {
    if (isFolder || !fits(name)) {
      throw new InputError(
        `mask folder ${folder}: expected ${what}, found '${name}'${isFolder ? ', a folder' : ''}`,
        {
          cure: 'move it away; masks are PNG files of one channel',
        },
      )
    }
    const stem = basename(name, extname(name))
    const other = stems.get(stem)
    if (other !== undefined)
      throw new InputError(`mask folder ${folder}: '${other}' and '${name}' have one name`, {
        cure: 'keep one of them',
      })
    stems.set(stem, name)
  }
  if (stems.size === 0) throw new InputError(`mask folder ${folder}: expected ${what}, found nothing`)
  return stems
}
