/** Elements of large tensors here and there, the same ones of a matrix and of its transpose, in a bounded number of reads. */

import { Tensor } from '../tensor/tensor.ts'
import { DTYPES } from '../tensor/dtype.ts'
import { sizeOf, type Shape } from '../tensor/shape.ts'
import type { Checkpoint } from './checkpoint.ts'
import { totalWeight } from './members.ts'
import { widen } from './elements.ts'
import type { AveragedDType } from './rounding.ts'
import { readBytes } from './tensor-bytes.ts'

/** A tensor's elements as numbers, in its own layout. */
export interface Elements {
  readonly dims: Shape
  read(start: number, count: number): Promise<Float64Array>
}

const PAIR_BYTES = 16

/** The elements of a checkpoint's tensor; those of a partial average are its mean. */
export function elementsOf({ tensors, partial }: Checkpoint, name: string): Elements {
  const { tensor, dims } = tensors.get(name)!
  if (tensor) return { dims, read: (start, count) => numbersOf(tensor, start, count) }
  const { pairs } = partial!.sums.get(name)!
  const total = totalWeight(partial!.members)
  return {
    dims,
    read: async (start, count) => {
      const bytes = await readBytes(pairs, start * PAIR_BYTES, count * PAIR_BYTES)
      const sums = new Tensor('float64', [count * 2], bytes).view() as Float64Array
      return Float64Array.from({ length: count }, (_, i) => (sums[2 * i]! + sums[2 * i + 1]!) / total)
    },
  }
}

async function numbersOf(tensor: Tensor, start: number, count: number): Promise<Float64Array> {
  const width = DTYPES[tensor.dtype].bits / 8
  const bytes = await readBytes(tensor, start * width, count * width)
  if (tensor.dtype.startsWith('float8')) {
    const numbers = new Float32Array(count)
    widen(tensor.dtype as AveragedDType, bytes, numbers)
    return Float64Array.from(numbers)
  }
  return Float64Array.from(new Tensor(tensor.dtype, [count], bytes).toNumbers())
}

/** Pieces of an axis: at most so many are apart from each other. */
const RUNS = 4

interface Run {
  readonly start: number
  readonly count: number
}

/** Which rows and columns are looked at. */
export interface Grid {
  readonly rows: number
  readonly columns: number
  readonly rowRuns: readonly Run[]
  readonly columnRuns: readonly Run[]
}

/**
 * About `limit` (64 or more) elements of tensors of these dims, evenly spread; all of them where there are no more.
 * Tensors of more than two axes count as matrices of the first one and the others.
 */
export function gridOf(dims: Shape, limit: number): Grid {
  const rows = dims.length < 2 ? 1 : dims[0]!
  const columns = dims.length < 2 ? sizeOf(dims) : sizeOf(dims.slice(1))
  const side = Math.floor(Math.sqrt(limit))
  const rowCount = Math.min(rows, Math.max(side, Math.floor(limit / Math.max(1, columns))))
  const columnCount = Math.min(columns, Math.max(side, Math.floor(limit / Math.max(1, rowCount))))
  return { rows, columns, rowRuns: runsOf(rows, rowCount), columnRuns: runsOf(columns, columnCount) }
}

/** The grid of the transposed matrix that has the same elements. */
function turned({ rows, columns, rowRuns, columnRuns }: Grid): Grid {
  return { rows: columns, columns: rows, rowRuns: columnRuns, columnRuns: rowRuns }
}

function runsOf(size: number, count: number): Run[] {
  if (count >= size) return [{ start: 0, count: size }]
  const each = Math.max(1, Math.floor(count / RUNS))
  return Array.from({ length: RUNS }, (_, i) => ({
    start: Math.floor((i * (size - each)) / (RUNS - 1)),
    count: each,
  }))
}

/** The elements of a grid, row after row; `transposed` says that the tensor holds the transpose of the grid's matrix. */
export async function sample(elements: Elements, grid: Grid, transposed = false): Promise<Float64Array> {
  if (!transposed) return sampleRows(elements, grid)
  const found = await sampleRows(elements, turned(grid))
  const [rows, columns] = [countOf(grid.rowRuns), countOf(grid.columnRuns)]
  const result = new Float64Array(found.length)
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) result[i * columns + j] = found[j * rows + i]!
  return result
}

async function sampleRows(elements: Elements, { columns, rowRuns, columnRuns }: Grid): Promise<Float64Array> {
  const found = new Float64Array(countOf(rowRuns) * countOf(columnRuns))
  let at = 0
  const take = async (start: number, count: number) => {
    found.set(await elements.read(start, count), at)
    at += count
  }
  const whole = columnRuns.length === 1
  for (const { start, count } of rowRuns) {
    // Rows that are wanted whole lie one after another.
    if (whole) await take(start * columns, count * columns)
    else {
      for (let row = start; row < start + count; row++) {
        for (const run of columnRuns) await take(row * columns + run.start, run.count)
      }
    }
  }
  return found
}

function countOf(runs: readonly Run[]): number {
  return runs.reduce((sum, { count }) => sum + count, 0)
}
