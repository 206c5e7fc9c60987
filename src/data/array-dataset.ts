/** A data set whose samples are all in memory: one array for each input, rows along its first axis. */

import { formatShape, sizeOf, type Shape } from '../tensor/shape.ts'
import { InputError } from '../util/errors.ts'
import {
  fieldSize,
  guessLayout,
  imageDims,
  type Columns,
  type Dataset,
  type Field,
  type FieldLayout,
  type Sample,
  type SampleInput,
  type Target,
} from './dataset.ts'
import { rangeOf, type Elements } from './elements.ts'
import type { Geometry } from './geometry.ts'
import { resample } from './resample.ts'

/** Numbers with dims whose first is the number of rows. */
export interface RowArray {
  readonly name: string
  readonly dims: Shape
  readonly data: Elements
}

export interface TargetArray extends RowArray {
  /** Whether the file stores integers. */
  readonly integer: boolean
}

export interface ArrayDatasetOptions {
  readonly targetKind?: 'class' | 'values'
  /** How the inputs are to be read; guessed from their dims by default. */
  readonly layout?: FieldLayout
  /** The names of labels 0, 1, ...; the numbers themselves by default. */
  readonly classNames?: readonly string[]
  readonly notes?: readonly string[]
}

const MOST_CLASSES = 100_000

export class ArrayDataset implements Dataset {
  readonly name: string
  readonly length: number
  readonly fields: readonly Field[]
  readonly targetKind: 'class' | 'values'
  readonly targetDims: Shape
  readonly classes: readonly string[] | null
  readonly notes: readonly string[]
  readonly columns: Columns
  readonly #targets: Elements
  readonly #targetSize: number

  /** Checks that the arrays agree, and that labels are usable. */
  constructor(name: string, inputs: readonly RowArray[], targets: TargetArray, options: ArrayDatasetOptions) {
    this.name = name
    this.length = targets.dims[0] ?? 0
    checkRows(name, [...inputs, targets])
    this.fields = inputs.map(input => fieldOf(name, input, options.layout))
    this.columns = { inputs: inputs.map(input => input.data), rows: null }
    const { targetKind, notes = [] } = options
    const single = targets.dims.slice(1).every(dim => dim === 1)
    const oneHot = single || targetKind === 'values' ? null : labelsOfOneHot(targets)
    this.targetKind = targetKind ?? (oneHot || (single && targets.integer) ? 'class' : 'values')
    this.notes = oneHot ? [...notes, oneHotNote(name, targets)] : notes
    if (this.targetKind === 'class') {
      this.#targets = oneHot ?? checkLabels(name, targets, single)
      this.#targetSize = 1
      this.targetDims = []
      const least = oneHot ? sizeOf(targets.dims.slice(1)) : 0
      this.classes = nameClasses(name, this.#targets, least, options.classNames)
    } else {
      checkNumbers(name, targets)
      this.#targets = Float32Array.from(targets.data)
      this.targetDims = targets.dims.slice(1)
      this.#targetSize = sizeOf(this.targetDims)
      this.classes = null
    }
  }

  label(index: number): number | null {
    return this.targetKind === 'class' ? this.#targets[index]! : null
  }

  target(index: number): Target {
    if (this.targetKind === 'class') return this.#targets[index]!
    const start = index * this.#targetSize
    return (this.#targets as Float32Array).subarray(start, start + this.#targetSize)
  }

  sampleName(index: number): string {
    return `row ${index}`
  }

  load(index: number, geometry?: Geometry): Promise<Sample> {
    const inputs = this.fields.map((field, i): SampleInput => {
      const size = fieldSize(field)
      const data = this.columns.inputs[i]!.subarray(index * size, (index + 1) * size)
      return fitted({ data, dims: field.dims!, layout: field.layout }, geometry)
    })
    return Promise.resolve({ inputs, target: this.target(index) })
  }
}

/** An image in memory, cut and scaled as the geometry says; plain numbers as they are. */
export function fitted(input: SampleInput, geometry: Geometry | undefined): SampleInput {
  const dims = imageDims(input.dims, input.layout)
  if (dims === null || geometry === undefined) return input
  const { region, size } = geometry.place(dims)
  if (region === null && size.height === dims.height && size.width === dims.width) return input
  const data = resample(input.data, dims, input.layout, region, size)
  const { height, width } = size
  if (input.layout === 'CHW') return { ...input, data, dims: [dims.channels, height, width] }
  return { ...input, data, dims: input.layout === 'HW' ? [height, width] : [height, width, dims.channels] }
}

function fieldOf(name: string, input: RowArray, layout: FieldLayout | undefined): Field {
  const dims = input.dims.slice(1)
  const chosen = layout ?? guessLayout(dims)
  const rank = { HWC: 3, CHW: 3, HW: 2, plain: dims.length }[chosen]
  if (rank !== dims.length)
    throw new InputError(
      `data array '${input.name}': layout ${chosen} needs ${rank} dims a row, found ${formatShape(dims)}`,
    )
  const { data } = input
  const dtype = data instanceof Uint8Array ? 'uint8' : data instanceof Int32Array ? 'int32' : 'float32'
  const range = rangeOf(data)
  if (Number.isNaN(range[0])) checkNumbers(name, input)
  return { name: input.name, layout: chosen, dims, dtype, range }
}

/** Refuses NaN: what is computed with it is NaN too. */
function checkNumbers(name: string, { name: array, dims, data }: RowArray): void {
  const at = data.findIndex(value => Number.isNaN(value))
  if (at < 0) return
  const row = Math.floor(at / sizeOf(dims.slice(1)))
  throw new InputError(`${name}: row ${row} of '${array}' ${formatShape(dims)} holds NaN, expected numbers`, {
    cure: 'repair or leave out the rows with NaN',
  })
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

function oneHotNote(name: string, { name: array, dims }: TargetArray): string {
  return `${name}: targets '${array}' ${formatShape(dims)} are one-hot, taken for classes; --target-kind values takes them as they are`
}

function checkRows(name: string, arrays: readonly RowArray[]): void {
  const counts = new Set(arrays.map(array => array.dims[0]))
  if (counts.size > 1 || counts.has(undefined)) {
    const found = arrays.map(array => `'${array.name}' ${formatShape(array.dims)}`).join(', ')
    throw new InputError(`${name}: arrays disagree about the number of rows: ${found}`)
  }
  if (counts.has(0)) throw new InputError(`${name}: the data set has no rows`)
}

function checkLabels(name: string, targets: TargetArray, single: boolean): Elements {
  if (!single)
    throw new InputError(
      `${name}: labels '${targets.name}' ${formatShape(targets.dims)}: expected one class a row`,
      { cure: 'several values a row are taken with --target-kind values' },
    )
  targets.data.forEach((label: number, row: number) => {
    if (Number.isInteger(label) && label >= 0 && label < MOST_CLASSES) return
    throw new InputError(
      `${name}: label ${label} in row ${row} of '${targets.name}': expected a class index from 0 to ${MOST_CLASSES - 1}`,
      { cure: 'numbers to be predicted are taken with --target-kind values' },
    )
  })
  return targets.data
}

function nameClasses(
  name: string,
  labels: Elements,
  least: number,
  names?: readonly string[],
): readonly string[] {
  const count = Math.max(least, rangeOf(labels)[1] + 1)
  if (names === undefined) return Array.from({ length: count }, (_, label) => String(label))
  if (names.length < count)
    throw new InputError(`${name}: label ${count - 1} has no name, only ${names.length} are known`)
  return names
}
