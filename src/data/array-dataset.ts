/** A data set whose samples are all in memory: one array for each input, rows along its first axis. */

import { formatShape, type Shape } from '../tensor/shape.ts'
import { InputError } from '../util/errors.ts'
import {
  IGNORED,
  targetColumn,
  type TargetArray,
  type TargetColumn,
  type TargetOptions,
} from './array-targets.ts'
import {
  fieldSize,
  guessLayout,
  imageDims,
  type Columns,
  type Dataset,
  type Field,
  type FieldLayout,
  type MaskOf,
  type Sample,
  type SampleInput,
  type Target,
  type TargetField,
} from './dataset.ts'
import { checkNumbers, rangeOf, type Elements } from './elements.ts'
import type { Geometry } from './geometry.ts'
import { resample } from './resample.ts'

/** Numbers with dims whose first is the number of rows. */
export interface RowArray {
  readonly name: string
  readonly dims: Shape
  readonly data: Elements
}

export interface ArrayDatasetOptions extends TargetOptions {
  /** How the inputs are to be read; guessed from their dims by default. */
  readonly layout?: FieldLayout
  readonly notes?: readonly string[]
}

export class ArrayDataset implements Dataset {
  readonly name: string
  readonly length: number
  readonly fields: readonly Field[]
  readonly targets: readonly TargetField[]
  readonly classes: readonly string[] | null
  readonly notes: readonly string[]
  readonly columns: Columns
  readonly #targets: readonly TargetColumn[]

  /**
   * Checks that the arrays agree, and that labels are usable.
   *
   * @param targets one array, or several named after the model outputs that they belong to
   */
  constructor(
    name: string,
    inputs: readonly RowArray[],
    targets: TargetArray | readonly TargetArray[],
    options: ArrayDatasetOptions,
  ) {
    const arrays = 'dims' in targets ? [targets] : targets
    this.name = name
    this.length = arrays[0]?.dims[0] ?? 0
    checkRows(name, [...inputs, ...arrays])
    this.fields = inputs.map(input => fieldOf(name, input, options.layout))
    this.columns = { inputs: inputs.map(input => input.data), rows: null }
    const { classNames: _ofMain, ...others } = options
    this.#targets = arrays.map((array, t) => {
      const field = 'dims' in targets ? '0' : array.name
      return targetColumn(name, field, array, t === 0 ? options : others)
    })
    this.targets = this.#targets.map(({ field }, t) => {
      const { output } = arrays[t]!
      const mask = maskOf(field, this.fields, options.ignoreIndex ?? IGNORED)
      return { ...field, ...(mask ? { mask } : {}), ...(output === undefined ? {} : { output }) }
    })
    this.classes = this.targets[0]!.classes
    this.notes = [...(options.notes ?? []), ...this.#targets.flatMap(({ note }) => note ?? [])]
  }

  label(index: number): number | null {
    const target = this.target(index)
    return typeof target === 'number' ? target : null
  }

  target(index: number, target = 0): Target {
    return this.#targets[target]!.at(index)
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
    return Promise.resolve({ inputs })
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

/** Classes at every pixel of an image are its mask. */
function maskOf({ kind, dims }: TargetField, fields: readonly Field[], ignored: number): MaskOf | null {
  if (kind !== 'class' || dims.length !== 2) return null
  const image = fields.find(field => {
    const size = imageDims(field.dims!, field.layout)
    return size?.height === dims[0] && size?.width === dims[1]
  })
  return image ? { field: image.name, ignored } : null
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

function checkRows(name: string, arrays: readonly RowArray[]): void {
  const counts = new Set(arrays.map(array => array.dims[0]))
  if (counts.size > 1 || counts.has(undefined)) {
    const found = arrays.map(array => `'${array.name}' ${formatShape(array.dims)}`).join(', ')
    throw new InputError(`${name}: arrays disagree about the number of rows: ${found}`)
  }
  if (counts.has(0)) throw new InputError(`${name}: the data set has no rows`)
}
