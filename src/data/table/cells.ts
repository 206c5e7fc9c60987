/** Cells of a table as what they are needed as; errors name file, row and column. */

import { InputError } from '../../util/errors.ts'
import type { RowArray } from '../array-dataset.ts'
import type { Table } from './table.ts'

export function cellError(table: Table, row: number, column: string, expected: string): InputError {
  const cell = table.rows[row]![column]
  const found = cell === undefined ? 'nothing' : JSON.stringify(cell).slice(0, 60)
  return new InputError(
    `${table.name}: ${table.places(row)}, column '${column}': expected ${expected}, found ${found}`,
  )
}

/** Refuses a column that is not there. */
export function checkColumns(table: Table, option: string, columns: readonly string[]): void {
  const missing = columns.find(column => !table.columns.includes(column))
  if (missing === undefined) return
  throw new InputError(`${table.name}: there is no column '${missing}', found ${table.columns.join(', ')}`, {
    cure: `name the columns with ${option}`,
  })
}

/** A number, or the text of one; null for anything else. */
export function numberOf(cell: unknown): number | null {
  if (typeof cell === 'boolean') return Number(cell)
  const text = typeof cell === 'string' ? cell.trim() : null
  const number = typeof cell === 'number' ? cell : text ? Number(text) : NaN
  return Number.isFinite(number) ? number : null
}

export function textOf(table: Table, row: number, column: string): string {
  const cell = table.rows[row]![column]
  if (typeof cell === 'string') return cell
  throw cellError(table, row, column, 'text')
}

/** A list; text in CSV that holds one as JSON is read. */
export function listOf(cell: unknown): readonly unknown[] | null {
  if (Array.isArray(cell)) return cell as unknown[]
  if (ArrayBuffer.isView(cell) && !(cell instanceof DataView)) return Array.from(cell as Float64Array)
  if (typeof cell !== 'string' || !cell.trimStart().startsWith('[')) return null
  try {
    const value: unknown = JSON.parse(cell)
    return Array.isArray(value) ? (value as unknown[]) : null
  } catch {
    return null
  }
}

export function listAt(table: Table, row: number, column: string, expected: string): readonly unknown[] {
  const list = listOf(table.rows[row]![column])
  if (list) return list
  throw cellError(table, row, column, expected)
}

/** Columns of numbers side by side: float32 [rows, columns], or int32 of whole numbers. */
export function numberColumns(
  table: Table,
  name: string,
  columns: readonly string[],
  whole = false,
): RowArray {
  const count = table.rows.length * columns.length
  const data = whole ? new Int32Array(count) : new Float32Array(count)
  table.rows.forEach((row, i) =>
    columns.forEach((column, c) => {
      const number = numberOf(row[column])
      if (number === null) throw cellError(table, i, column, 'a number')
      if (whole && !Number.isInteger(number)) throw cellError(table, i, column, 'a whole number')
      data[i * columns.length + c] = number
    }),
  )
  return { name, dims: [table.rows.length, columns.length], data }
}

/** Lists of whole numbers, filled up or cut to one length: int32 [rows, length]. */
export function integerLists(
  table: Table,
  name: string,
  column: string,
  length: number,
  fill: number,
): RowArray {
  const data = new Int32Array(table.rows.length * length).fill(fill)
  table.rows.forEach((_, i) => {
    const list = listAt(table, i, column, 'a list of whole numbers')
    list.slice(0, length).forEach((cell, at) => {
      if (!Number.isSafeInteger(cell)) throw cellError(table, i, column, 'a list of whole numbers')
      data[i * length + at] = cell as number
    })
  })
  return { name, dims: [table.rows.length, length], data }
}
