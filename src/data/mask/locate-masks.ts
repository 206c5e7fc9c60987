/** Folders of images and masks, found by their names: side by side, or in folders of splits, or with such folders inside. */

import { join } from 'node:path'
import { InputError } from '../../util/errors.ts'
import { classFolders } from '../image-folder.ts'
import { splitOf, type Located, type OpenPart, type Split } from '../splits.ts'
import { quoteSome } from '../subset.ts'
import { openMaskFolder, type MaskChoice } from './mask-folder.ts'

/** Names of the two folders; case does not count. */
const IMAGE_FOLDERS = ['images', 'image', 'imgs', 'img', 'jpegimages']
const MASK_FOLDERS = [
  ...['masks', 'mask', 'labels', 'label', 'annotations', 'annotation'],
  ...['segmentations', 'segmentation', 'segmentationclass'],
]

interface Pair {
  readonly images: string
  readonly masks: string
}

/** The parts of a folder with images and masks; null if it is none. */
export async function locateMasks(
  path: string,
  folders: readonly string[],
  choice: MaskChoice,
): Promise<Located | null> {
  const parts: Partial<Record<Split | 'whole', OpenPart>> = {}
  for (const [split, pair] of await findPairs(path, folders)) {
    if (parts[split])
      throw new InputError(`mask folder ${path}: two folders hold the ${split} part`, {
        cure: 'name one of the folders as the data',
      })
    const name = split === 'whole' ? path : `${path} (${split})`
    parts[split] = classNames =>
      openMaskFolder(pair.images, pair.masks, { ...choice, name, ...(classNames ? { classNames } : {}) })
  }
  return Object.keys(parts).length > 0 ? { kind: 'mask folder', path, parts } : null
}

async function findPairs(path: string, folders: readonly string[]): Promise<[Split | 'whole', Pair][]> {
  const pair = pairOf(path, folders)
  if (pair) return splitsInside(path, pair)
  const found: [Split, Pair][] = []
  for (const folder of folders) {
    const split = splitOf(folder)
    const root = join(path, folder)
    const inside = split && pairOf(root, await classFolders(root))
    if (inside) found.push([split, inside])
  }
  return found
}

/** Whole, or by split where both folders hold folders of splits (`images/train`, `masks/train`). */
async function splitsInside(path: string, { images, masks }: Pair): Promise<[Split | 'whole', Pair][]> {
  const [a, b] = [await splitFolders(images), await splitFolders(masks)]
  if (a.size === 0 && b.size === 0) return [['whole', { images, masks }]]
  const alone = [...new Set([...a.keys(), ...b.keys()])].find(split => !a.has(split) || !b.has(split))
  if (alone === undefined)
    return [...a].map(([split, folder]) => [split, { images: folder, masks: b.get(split)! }])
  throw new InputError(
    `mask folder ${path}: the ${alone} part is in ${a.has(alone) ? images : masks} and not in ${a.has(alone) ? masks : images}`,
  )
}

async function splitFolders(root: string): Promise<Map<Split, string>> {
  const folders = await classFolders(root)
  return new Map(
    folders.flatMap(folder => {
      const split = splitOf(folder)
      return split ? [[split, join(root, folder)] as const] : []
    }),
  )
}

function pairOf(root: string, folders: readonly string[]): Pair | null {
  const named = (names: readonly string[]) => folders.filter(folder => names.includes(folder.toLowerCase()))
  const [images, masks] = [named(IMAGE_FOLDERS), named(MASK_FOLDERS)]
  if (images.length === 0 || masks.length === 0) return null
  const both = [...images, ...masks]
  if (both.length > 2)
    throw new InputError(
      `mask folder ${root}: expected one folder of images and one of masks, found ${quoteSome(both)}`,
      { cure: 'move the others away' },
    )
  return { images: join(root, images[0]!), masks: join(root, masks[0]!) }
}
