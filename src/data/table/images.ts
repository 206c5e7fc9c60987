/** Tables with encoded images (PNG, JPEG), as the library datasets writes them into Parquet: {bytes, path} or bytes. */

import { InputError } from '../../util/errors.ts'
import { targetColumn, type TargetArray, type TargetColumn, type TargetOptions } from '../array-targets.ts'
import type { Dataset, Field, Sample, Target, TargetField } from '../dataset.ts'
import type { Geometry } from '../geometry.ts'
import { decodeImageBytes } from '../image-decode.ts'
import { cellError } from './cells.ts'
import type { Table } from './table.ts'

/** The columns of images: those whose first cell that is not empty holds bytes. */
export function imageColumns(table: Table): string[] {
  return table.columns.filter(column => {
    const first = table.rows.find(row => row[column] !== null && row[column] !== undefined)
    return first !== undefined && imageOf(first[column]) !== undefined
  })
}

interface EncodedImage {
  readonly bytes: Uint8Array | null
  readonly path: string | null
}

/** A cell as an image; undefined for anything else. */
function imageOf(cell: unknown): EncodedImage | undefined {
  if (cell instanceof Uint8Array) return { bytes: cell, path: null }
  if (typeof cell !== 'object' || cell === null || !('bytes' in cell)) return undefined
  const { bytes, path = null } = cell as { bytes: unknown; path?: unknown }
  return {
    bytes: bytes instanceof Uint8Array ? bytes : null,
    path: typeof path === 'string' ? path : null,
  }
}

/** Images stay encoded in memory, and are decoded sample by sample. */
export class TableImages implements Dataset {
  readonly name: string
  readonly length: number
  readonly fields: readonly Field[]
  readonly targets: readonly TargetField[]
  readonly classes: readonly string[] | null
  readonly notes: readonly string[]
  readonly columns = null
  readonly #images: readonly (readonly EncodedImage[])[]
  readonly #target: TargetColumn

  /** @param columns of images; several feed the model's inputs by position */
  constructor(table: Table, columns: readonly string[], labels: TargetArray, options: TargetOptions) {
    this.name = table.name
    this.length = table.rows.length
    this.fields = columns.map((_, i) => ({
      ...{ name: String(i), layout: 'HWC', dims: null, dtype: 'uint8', range: null },
    }))
    this.#images = columns.map(column =>
      table.rows.map((cells, row) => {
        const image = imageOf(cells[column])
        if (image?.bytes) return image
        if (!image?.path) throw cellError(table, row, column, 'an image')
        throw new InputError(
          `${table.name}: ${table.places(row)}, column '${column}': expected the bytes of an image, found only its path '${image.path}'`,
          { cure: 'write the table with the images in it, or give their folder as the data' },
        )
      }),
    )
    this.#target = targetColumn(table.name, '0', labels, options)
    this.targets = [this.#target.field]
    this.classes = this.#target.field.classes
    this.notes = this.#target.note === null ? [] : [this.#target.note]
  }

  label(index: number): number | null {
    const target = this.target(index)
    return typeof target === 'number' ? target : null
  }

  target(index: number): Target {
    return this.#target.at(index)
  }

  sampleName(index: number): string {
    const path = this.#images[0]![index]!.path
    return path === null ? `row ${index}` : `row ${index} (${path})`
  }

  async load(index: number, geometry?: Geometry): Promise<Sample> {
    const name = `${this.name}, ${this.sampleName(index)}`
    const inputs = this.#images.map(images => decodeImageBytes(images[index]!.bytes!, name, geometry))
    return { inputs: await Promise.all(inputs) }
  }
}
