/** Label columns of a table as an array of targets: what they hold decides what they are. */

import { InputError } from '../../util/errors.ts'
import type { TargetArray } from '../array-targets.ts'
import type { TargetKind } from '../dataset.ts'
import { quoteSome } from '../subset.ts'
import { cellError, listAt, listOf, numberColumns, numberOf } from './cells.ts'
import type { Table } from './table.ts'

export interface LabelChoice {
  readonly columns: readonly string[]
  readonly kind?: TargetKind
  /** The names of labels 0, 1, ... that a model was trained with. */
  readonly classNames?: readonly string[]
}

/**
 * 1. Several columns are numbers to be predicted; yes or no for each class where that is asked for.
 * 2. Lists are the classes that a sample has, or, of fractions, numbers to be predicted.
 * 3. Text that is no number names classes, in alphabetical order; whole numbers are class indices; other numbers are
 *    to be predicted.
 */
export function labelArray(table: Table, { columns, kind, classNames }: LabelChoice): TargetArray {
  const [column] = columns as [string]
  if (columns.length > 1) {
    const named = { ...numberColumns(table, columns.join(), columns), integer: false, kind: kind ?? 'values' }
    return kind === 'multilabel' ? { ...named, classNames: columns } : named
  }
  const first = table.rows[0]![column]
  if (listOf(first)) return listLabels(table, column, kind, classNames)
  const numbers = table.rows.map(row => numberOf(row[column]))
  if (numbers.every(number => number !== null) && kind !== 'multilabel') {
    const integer = numbers.every(Number.isInteger)
    if (kind === 'values' || (!integer && kind === undefined))
      return {
        name: column,
        dims: [numbers.length, 1],
        data: Float32Array.from(numbers),
        integer: false,
        kind: 'values',
      }
    const names = classNames ? { classNames } : {}
    const data = integer ? Int32Array.from(numbers) : Float32Array.from(numbers)
    return { name: column, dims: [numbers.length], data, integer, kind: 'class', ...names }
  }
  if (kind === 'values') throw cellError(table, numbers.indexOf(null), column, 'a number')
  const texts = table.rows.map((row, i) => nameAt(table, i, column, row[column]))
  const { classes, indexOf } = numbered(table, texts, classNames)
  const data = Int32Array.from(texts, (text, i) => indexOf(text, i, column))
  return { name: column, dims: [texts.length], data, integer: true, kind: 'class', classNames: classes }
}

function listLabels(
  table: Table,
  column: string,
  kind: TargetKind | undefined,
  classNames: readonly string[] | undefined,
): TargetArray {
  const rows = table.rows.length
  const lists = table.rows.map((_, i) => listAt(table, i, column, 'a list of labels'))
  const fractions = lists.some(list => list.some(cell => typeof cell === 'number' && !Number.isInteger(cell)))
  if (kind === 'values' || (fractions && kind === undefined)) {
    const width = lists[0]!.length
    const data = new Float32Array(rows * width)
    lists.forEach((list, i) => {
      const numbers = list.map(numberOf)
      if (list.length !== width || numbers.includes(null))
        throw cellError(table, i, column, `a list of ${width} numbers`)
      data.set(numbers as number[], i * width)
    })
    return { name: column, dims: [rows, width], data, integer: false, kind: 'values' }
  }
  const whole = lists.every(list => list.every(cell => Number.isSafeInteger(cell)))
  const texts = lists.map((list, i) => list.map(cell => nameAt(table, i, column, cell)))
  const most = lists.flat().reduce((high: number, cell) => Math.max(high, whole ? (cell as number) : -1), -1)
  const counted = whole ? Array.from({ length: most + 1 }, (_, label) => String(label)) : undefined
  const known = whole && classNames ? classNames.map((_, label) => String(label)) : (classNames ?? counted)
  const { classes, indexOf } = numbered(table, texts.flat(), known)
  const data = new Float32Array(rows * classes.length)
  texts.forEach((names, i) =>
    names.forEach(name => (data[i * classes.length + indexOf(name, i, column)] = 1)),
  )
  const names = whole ? (classNames ?? classes) : classes
  return {
    name: column,
    dims: [rows, classes.length],
    data,
    integer: true,
    kind: 'multilabel',
    classNames: names,
  }
}

function nameAt(table: Table, row: number, column: string, cell: unknown): string {
  if ((typeof cell === 'string' && cell !== '') || typeof cell === 'number') return String(cell)
  throw cellError(table, row, column, 'a label')
}

/** Numbers for names: those known, or in alphabetical order of code units. */
export function numbered(table: Table, names: readonly string[], known: readonly string[] | undefined) {
  const classes = known ?? [...new Set(names)].sort()
  const numbers = new Map(classes.map((name, label) => [name, label]))
  const indexOf = (name: string, row: number, column: string): number => {
    const label = numbers.get(name)
    if (label !== undefined) return label
    throw new InputError(
      `${table.name}: ${table.places(row)}, column '${column}': label '${name}' is not among the known classes ${quoteSome(classes)}`,
    )
  }
  return { classes, indexOf }
}
