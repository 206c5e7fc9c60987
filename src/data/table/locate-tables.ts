/** Tables in a folder: parts by file name (train.csv, validation.jsonl), or as Hugging Face stores them. */

import { join } from 'node:path'
import { listEntries } from '../image-folder.ts'
import { splitName, splitOf, type Located, type OpenPart, type Split } from '../splits.ts'
import { openTable, type TableChoice } from './open-table.ts'
import { isTableName } from './table.ts'

/** `data/train-00000-of-00001.parquet`: the part is the word before the shard. */
const SHARD = /^(.*?)[-_]?\d+-of-\d+\.\w+$/

export function locateTable(path: string, choice: TableChoice): Located {
  const whole: OpenPart = classNames => openTable(path, [path], choice, classNames)
  return { kind: 'table', path, parts: { whole } }
}

/** Finds the tables of a folder; null if there are none. */
export async function locateTables(
  path: string,
  files: readonly string[],
  choice: TableChoice,
): Promise<Located | null> {
  const own = files.filter(isTableName).map(name => ({ name, file: join(path, name) }))
  const below = own.length > 0 ? [] : await tablesIn(join(path, 'data'))
  const tables = own.length > 0 ? own : below
  if (tables.length === 0) return null
  const groups = new Map<Split | 'whole', string[]>()
  for (const { name, file } of tables) {
    const stem = SHARD.exec(name)?.[1] ?? name.replace(/\.\w+$/, '')
    const split = splitOf(stem) ?? splitName(stem).split
    groups.set(split, [...(groups.get(split) ?? []), file].sort())
  }
  const parts: Partial<Record<Split | 'whole', OpenPart>> = {}
  for (const [split, paths] of groups) {
    const name = split === 'whole' ? path : `${path} (${split})`
    parts[split] = classNames => openTable(name, paths, choice, classNames)
  }
  return { kind: 'table', path, parts }
}

async function tablesIn(folder: string): Promise<{ name: string; file: string }[]> {
  const entries = await listEntries(folder).catch(() => [])
  const names = entries.filter(({ name, isFolder }) => !isFolder && isTableName(name))
  return names.map(({ name }) => ({ name, file: join(folder, name) }))
}
