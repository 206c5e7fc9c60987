/** Stores of named arrays: an .npz file, or .npy files. */

import { basename } from 'node:path'
import { FileSource } from '../tensor/file-source.ts'
import { InputError } from '../util/errors.ts'
import type { ArrayStore } from './array-files.ts'
import { loadFile } from './bytes.ts'
import { decodeNpy } from './npy.ts'
import { readZipDirectory, readZipEntry } from '../serde/zip.ts'

/** Opens an .npz file; its arrays are read one by one. */
export async function openNpz(path: string): Promise<ArrayStore> {
  const source = await FileSource.open(path)
  try {
    const entries = await readZipDirectory(source)
    const other = entries.find(entry => !entry.name.endsWith('.npy'))
    if (other) throw new InputError(`${path}: expected only .npy members, found '${other.name}'`)
    return {
      kind: 'npz file',
      path,
      keys: entries.map(entry => entry.name.slice(0, -4)),
      async read(key) {
        const entry = entries.find(entry => entry.name === `${key}.npy`)
        if (!entry) throw new InputError(`${path}: there is no array '${key}'`)
        const source = await FileSource.open(path)
        try {
          return decodeNpy(await readZipEntry(source, entry), `${path}[${key}]`)
        } finally {
          await source.close()
        }
      },
    }
  } finally {
    await source.close()
  }
}

/** .npy files as one store, each array named as its file without the ending. */
export function storeOfNpyFiles(path: string, files: readonly string[]): ArrayStore {
  const byKey = new Map(files.map(file => [basename(file, '.npy'), file]))
  return {
    kind: 'npy files',
    path,
    keys: [...byKey.keys()],
    async read(key) {
      const file = byKey.get(key)
      if (file === undefined) throw new InputError(`${path}: there is no array '${key}'`)
      return decodeNpy(await loadFile(file), file)
    },
  }
}
