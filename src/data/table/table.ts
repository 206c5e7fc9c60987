/** Tables of named columns: JSON Lines, CSV, TSV and Parquet files. Their readers are loaded at first use. */

import { readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { InputError, messageOf } from '../../util/errors.ts'

export type Row = Readonly<Record<string, unknown>>

export interface Table {
  readonly name: string
  readonly columns: readonly string[]
  readonly rows: readonly Row[]
  /** The names of labels 0, 1, ... by column, where the file has them. */
  readonly classNames: Readonly<Record<string, readonly string[]>>
  /** Where a row stands in its file, for messages: `line 3`. */
  readonly places: (row: number) => string
}

type Part = Pick<Table, 'rows' | 'places'> & Partial<Pick<Table, 'classNames'>>

type Reader = (path: string) => Promise<Part>

const READERS: Readonly<Record<string, Reader>> = {
  '.jsonl': readJsonLines,
  '.ndjson': readJsonLines,
  '.csv': path => readCsv(path, ','),
  '.tsv': path => readCsv(path, '\t'),
  '.parquet': readParquet,
}

export function isTableName(name: string): boolean {
  return extname(name).toLowerCase() in READERS
}

/** Reads a table that may lie in several files, one after the other. */
export async function readTable(name: string, paths: readonly string[]): Promise<Table> {
  const parts: { path: string; first: number; part: Part }[] = []
  let first = 0
  for (const path of paths) {
    const part = await READERS[extname(path).toLowerCase()]!(path)
    parts.push({ path, first, part })
    first += part.rows.length
  }
  const rows = parts.flatMap(({ part }) => part.rows)
  if (rows.length === 0) throw new InputError(`${name}: the table has no rows`)
  const places = (row: number) => {
    const { path, first, part } = parts.findLast(({ first }) => first <= row)!
    return parts.length === 1 ? part.places(row) : `${path} ${part.places(row - first)}`
  }
  return { name, columns: Object.keys(rows[0]!), rows, classNames: parts[0]!.part.classNames ?? {}, places }
}

async function readJsonLines(path: string) {
  const lines = (await readFile(path, 'utf8')).replace(/^\ufeff/, '').split('\n')
  const rows: Row[] = []
  const numbers: number[] = []
  lines.forEach((line, i) => {
    if (line.trim() === '') return
    rows.push(parseObject(line, `${path}: line ${i + 1}`))
    numbers.push(i + 1)
  })
  return { rows, places: (row: number) => `line ${numbers[row]!}` }
}

function parseObject(line: string, where: string): Row {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch (error) {
    throw new InputError(`${where}: ${messageOf(error)}`, { cause: error })
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Row
  throw new InputError(`${where}: expected an object {"text": ..., "label": ...}, found ${line.slice(0, 40)}`)
}

/** CSV with a header line (RFC 4180). Cells stay text. */
async function readCsv(path: string, delimiter: string) {
  const { parse } = await import('csv-parse/sync')
  const text = await readFile(path, 'utf8')
  try {
    const records = parse(text, { columns: true, bom: true, skip_empty_lines: true, info: true, delimiter })
    const found = records as unknown as { readonly record: Row; readonly info: { readonly lines: number } }[]
    return {
      rows: found.map(({ record }) => record),
      places: (row: number) => `line ${found[row]!.info.lines}`,
    }
  } catch (error) {
    throw new InputError(`${path}: ${messageOf(error)}`, { cause: error })
  }
}

/** Parquet; 64-bit integers become numbers. */
async function readParquet(path: string) {
  const [{ parquetMetadata, parquetReadObjects }, { compressors }] = await Promise.all([
    import('hyparquet'),
    import('hyparquet-compressors'),
  ])
  const { buffer, byteOffset, byteLength } = await readFile(path)
  const file = buffer.slice(byteOffset, byteOffset + byteLength)
  try {
    const metadata = parquetMetadata(file)
    const rows = await parquetReadObjects({ file, metadata, compressors, utf8: false })
    const about = metadata.key_value_metadata?.find(({ key }) => key === 'huggingface')?.value
    return {
      rows: rows.map(withNumbers) as Row[],
      classNames: about === undefined ? {} : classLabels(about),
      places: (row: number) => `row ${row}`,
    }
  } catch (error) {
    throw new InputError(`${path}: ${messageOf(error)}`, {
      cause: error,
      cure: 'the file is truncated or damaged; write or download it again',
    })
  }
}

/** The names of class labels, and of lists of them, in what the library datasets writes of its columns. */
function classLabels(text: string): Record<string, readonly string[]> {
  interface Feature {
    readonly names?: unknown
    readonly feature?: Feature
  }
  const { info } = JSON.parse(text) as { info?: { features?: Record<string, Feature> } }
  const isNames = (names: unknown): names is string[] =>
    Array.isArray(names) && names.every(name => typeof name === 'string')
  return Object.fromEntries(
    Object.entries(info?.features ?? {}).flatMap(([column, { names, feature }]) => {
      const found = names ?? feature?.names
      return isNames(found) ? [[column, found]] : []
    }),
  )
}

function withNumbers(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value)
  if (Array.isArray(value)) return value.map(withNumbers)
  if (typeof value !== 'object' || value === null || value instanceof Date || ArrayBuffer.isView(value))
    return value
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, withNumbers(entry)]))
}
