/** Arrays of targets: what they are taken for (classes, one-hot classes, values), checked and ready to be read by sample. */

import { formatShape, sizeOf, type Shape } from '../tensor/shape.ts'
import { InputError } from '../util/errors.ts'
import type { Target, TargetField, TargetKind } from './dataset.ts'
import { checkNumbers, type Elements } from './elements.ts'

export interface TargetArray {
  readonly name: string
  /** The number of rows first. */
  readonly dims: Shape
  readonly data: Elements
  /** Whether the file stores integers. */
  readonly integer: boolean
  /** What it is to be taken for, where it is known: this counts more than the options of the data set. */
  readonly kind?: TargetKind
  /** The names of labels 0, 1, ... */
  readonly classNames?: readonly string[]
  /** The model output that it is given to: by name, or by position. */
  readonly output?: string | number
}

export interface TargetOptions {
  readonly targetKind?: TargetKind
  /** The names of labels 0, 1, ... of the main target; the numbers themselves by default. */
  readonly classNames?: readonly string[]
  /** The class of elements (tokens, pixels) that have none; -100 by default. */
  readonly ignoreIndex?: number
}

/** One target of all samples. */
export interface TargetColumn {
  readonly field: TargetField
  /** What a person should know about how it was read; null if nothing. */
  readonly note: string | null
  at(row: number): Target
}

const MOST_CLASSES = 100_000
/** PyTorch's default of what cross-entropy ignores. */
export const IGNORED = -100

/** Decides what an array of targets is, and checks that it can be used as that. */
export function targetColumn(
  dataset: string,
  field: string,
  array: TargetArray,
  options: TargetOptions,
): TargetColumn {
  const asked = array.kind ?? options.targetKind
  const single = array.dims.slice(1).every(dim => dim === 1)
  const oneHot = single || (asked ?? 'class') !== 'class' ? null : labelsOfOneHot(array)
  const kind = asked ?? (oneHot || (single && array.integer) ? 'class' : 'values')
  const names = array.classNames ?? options.classNames
  if (kind !== 'class') {
    checkNumbers(dataset, array)
    const dims = array.dims.slice(1)
    const classes = kind === 'values' ? null : nameClasses(dataset, sizeOf(dims), names)
    if (kind === 'multilabel') checkDecisions(dataset, array)
    const note = null
    return {
      field: { name: field, kind, dims, classes },
      note,
      at: rowsOf(Float32Array.from(array.data), dims),
    }
  }
  const dims = single || oneHot ? [] : array.dims.slice(1)
  const labels = oneHot ?? array.data
  const ignored = dims.length === 0 ? null : (options.ignoreIndex ?? IGNORED)
  if (!oneHot) checkLabels(dataset, array, ignored)
  let highest = -1
  for (const label of labels) if (label !== ignored && label > highest) highest = label
  const least = oneHot ? sizeOf(array.dims.slice(1)) : 0
  const classes = nameClasses(dataset, Math.max(least, highest + 1), names)
  const note = oneHot ? oneHotNote(dataset, array) : null
  const at = dims.length === 0 ? (row: number) => labels[row]! : rowsOf(Int32Array.from(labels), dims)
  return { field: { name: field, kind, dims, classes }, note, at }
}

function rowsOf(data: Int32Array | Float32Array, dims: Shape): (row: number) => Target {
  const size = sizeOf(dims)
  return row => data.subarray(row * size, (row + 1) * size)
}

/** The labels of targets [N,C] whose rows are all zeros and a single one; null if they are anything else. */
function labelsOfOneHot({ dims, data }: TargetArray): Int32Array | null {
  const [rows, size] = dims
  if (dims.length !== 2 || !rows || !size) return null
  const labels = new Int32Array(rows).fill(-1)
  for (let i = 0; i < data.length; i++) {
    const value = data[i]!
    if (value === 0) continue
    const row = Math.floor(i / size)
    if (value !== 1 || labels[row] !== -1) return null
    labels[row] = i % size
  }
  return labels.includes(-1) ? null : labels
}

function oneHotNote(dataset: string, { name: array, dims }: TargetArray): string {
  return `${dataset}: targets '${array}' ${formatShape(dims)} are one-hot, taken for classes; --target-kind values takes them as they are`
}

/** @param ignored the class of elements that have none; null where every row needs a class */
function checkLabels(dataset: string, { name, dims, data }: TargetArray, ignored: number | null): void {
  const size = sizeOf(dims.slice(1))
  data.forEach((label: number, at: number) => {
    if (Number.isInteger(label) && label >= 0 && label < MOST_CLASSES) return
    if (label === ignored) return
    const exception = ignored === null ? '' : `, or ${ignored} where there is none`
    throw new InputError(
      `${dataset}: label ${label} in row ${Math.floor(at / size)} of '${name}': expected a class index from 0 to ${MOST_CLASSES - 1}${exception}`,
      { cure: 'numbers to be predicted are taken with --target-kind values' },
    )
  })
}

function checkDecisions(dataset: string, { name, dims, data }: TargetArray): void {
  const at = data.findIndex(value => !(value >= 0 && value <= 1))
  if (at < 0) return
  throw new InputError(
    `${dataset}: ${data[at]!} in row ${Math.floor(at / sizeOf(dims.slice(1)))} of '${name}': expected 1 for each class that the sample has, and 0`,
  )
}

function nameClasses(
  dataset: string,
  count: number,
  names: readonly string[] | undefined,
): readonly string[] {
  if (names === undefined) return Array.from({ length: count }, (_, label) => String(label))
  if (names.length < count)
    throw new InputError(`${dataset}: label ${count - 1} has no name, only ${names.length} are known`)
  return names
}
