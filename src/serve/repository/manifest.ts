/** Whether a model's files are those of the manifest beside it: one that is still being copied is not. */

import { existsSync } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { sha256File } from '../../util/files.ts'
import { manifestsOf } from './sources.ts'

interface Listed {
  readonly name: string
  readonly bytes: number
  readonly sha256: string | null
}

/** Null where they are, or where there is no manifest of this model; else what does not fit. */
export async function manifestMismatch(path: string): Promise<string | null> {
  const files = await listedFiles(path)
  for (const { name, bytes, sha256 } of files ?? []) {
    const file = join(dirname(path), basename(name))
    const size = await stat(file).then(
      ({ size }) => size,
      () => null,
    )
    if (size === null) return `${basename(name)} of its manifest is missing`
    if (size !== bytes) return `${basename(name)} has ${size} bytes, its manifest says ${bytes}`
    if (sha256 !== null && (await sha256File(file)) !== sha256) {
      return `${basename(name)} has another checksum than its manifest says`
    }
  }
  return null
}

async function listedFiles(path: string): Promise<readonly Listed[] | null> {
  for (const manifest of manifestsOf(path).filter(existsSync)) {
    try {
      const { output } = JSON.parse(await readFile(manifest, 'utf8')) as {
        output?: { files?: readonly Listed[] }
      }
      const files = output?.files
      // A run folder's manifest.json lists other things.
      if (files?.some(({ name }) => name === basename(path))) return files
    } catch {
      // Somebody is writing it: its stamp changes when that is done.
      return [{ name: basename(manifest), bytes: -1, sha256: null }]
    }
  }
  return null
}
