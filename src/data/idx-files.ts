/** Pairs of IDX files: images and labels, named as MNIST's or given one by one. */

import { basename, dirname, join } from 'node:path'
import { stat } from 'node:fs/promises'
import { InputError } from '../util/errors.ts'
import { ArrayDataset, type ArrayDatasetOptions } from './array-dataset.ts'
import type { Dataset } from './dataset.ts'
import { loadIdx } from './idx.ts'
import { splitOf, type Located, type OpenPart, type Split } from './splits.ts'
import { quoteSome } from './subset.ts'

/** `train-images-idx3-ubyte.gz`, `t10k-labels.idx1-ubyte`, `emnist-letters-test-images-idx3-ubyte`. */
const NAME = /^(.*?)(train|t10k|test|val)[-_](images|labels)[-.]idx\d-\w+?(\.gz)?$/i

/** Finds the pairs among the files of a folder; null if there are none. */
export function locateIdx(
  folder: string,
  names: readonly string[],
  options: ArrayDatasetOptions,
): Located | null {
  const found = new Map<Split, { images?: string; labels?: string }>()
  const families = new Set<string>()
  for (const name of names) {
    const [, family, word, role] = NAME.exec(name) ?? []
    if (family === undefined) continue
    families.add(family)
    const split = splitOf(word!)!
    const pair = found.get(split) ?? {}
    const key = role!.toLowerCase() as 'images' | 'labels'
    if (pair[key] === undefined || !name.endsWith('.gz')) pair[key] = join(folder, name)
    found.set(split, pair)
  }
  if (families.size > 1)
    throw new InputError(`IDX files ${folder}: expected one family, found ${quoteSome([...families])}`, {
      cure: 'name the images file instead of the folder',
    })
  if (found.size === 0) return null
  const parts: Partial<Record<Split, OpenPart>> = {}
  for (const [split, { images, labels }] of found) {
    if (images === undefined || labels === undefined)
      throw new InputError(
        `IDX files ${folder}: the ${split} ${images ? 'labels' : 'images'} file is missing, found ${basename(images ?? labels!)}`,
      )
    parts[split] = classNames => openPair(images, labels, `${folder} (${split})`, options, classNames)
  }
  return { kind: 'IDX files', path: folder, parts }
}

/** An images file; the labels file is named alike unless it is given. */
export async function locateIdxPair(
  images: string,
  labels: string | undefined,
  options: ArrayDatasetOptions,
): Promise<Located> {
  const guess = join(dirname(images), basename(images).replace('images', 'labels').replace(/idx\d/, 'idx1'))
  const found = labels ?? guess
  const exists = await stat(found).then(
    entry => entry.isFile(),
    () => false,
  )
  if (!exists || found === images)
    throw new InputError(`IDX file ${images}: its labels are missing, looked for ${found}`, {
      cure: 'name the labels file',
    })
  return {
    kind: 'IDX files',
    path: images,
    parts: { whole: classNames => openPair(images, found, images, options, classNames) },
  }
}

async function openPair(
  imagesPath: string,
  labelsPath: string,
  name: string,
  options: ArrayDatasetOptions,
  classNames: readonly string[] | undefined,
): Promise<Dataset> {
  const images = await loadIdx(imagesPath)
  const labels = await loadIdx(labelsPath)
  return new ArrayDataset(
    name,
    [{ name: '0', dims: images.dims, data: images.data }],
    { name: basename(labelsPath), ...labels },
    { ...options, ...(classNames === undefined ? {} : { classNames }) },
  )
}
