/** The data file that a model being written stores weights in. */

import { stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { concatBytes } from '../util/bytes.ts'
import { UsageError } from '../util/errors.ts'
import { AtomicFile, type WrittenFile } from '../util/files.ts'
import { checkLocation } from './external-data.ts'
import { EXTERNAL_DATA_FIELD } from './schema.ts'
import { bytesSegment, writeSegments, type Journal, type Segment } from './segment.ts'
import { encodeEntry, encodeField } from './wire.ts'

const LARGE = 1 << 20
const LARGE_ALIGNMENT = 1 << 16 // of big weights, so that runtimes can map them into memory on every system
const ALIGNMENT = 64

export class ExternalLayout {
  readonly #location: string
  readonly #segments: Segment[] = []
  readonly #offsets = new Map<unknown, number>()
  #length = 0

  /** `location`: a plain name beside the model; a model written by us never points into other folders. */
  constructor(location: string) {
    const name = checkLocation(location, 'write external data')
    if (name !== basename(name) || name.includes('\\')) {
      throw new UsageError(`write external data: the location "${location}" is not a plain file name`, {
        cure: 'name a file without folders; it is written beside the model',
      })
    }
    this.#location = name
  }

  get isEmpty(): boolean {
    return this.#offsets.size === 0
  }

  /** Adds elements, once for each key, and gives the external_data entries that locate them. */
  place(key: unknown, segment: Segment): Segment {
    let offset = this.#offsets.get(key)
    if (offset === undefined) {
      const alignment = segment.byteLength >= LARGE ? LARGE_ALIGNMENT : ALIGNMENT
      offset = Math.ceil(this.#length / alignment) * alignment
      if (offset > this.#length) this.#segments.push(bytesSegment(new Uint8Array(offset - this.#length)))
      this.#segments.push(segment)
      this.#length = offset + segment.byteLength
      this.#offsets.set(key, offset)
    }
    const entries = { location: this.#location, offset: String(offset), length: String(segment.byteLength) }
    const fields = Object.entries(entries).map(([name, value]) =>
      encodeField(EXTERNAL_DATA_FIELD, encodeEntry(name, value)),
    )
    return bytesSegment(concatBytes(fields))
  }

  /** The path of the data file of a model at `modelPath`. */
  pathBeside(modelPath: string): string {
    return join(dirname(modelPath), this.#location)
  }

  get segments(): readonly Segment[] {
    return this.#segments
  }
}

/**
 * Writes a model and its data file: both whole under temporary names, then renamed, the data first. `inputs` are the
 * files that segments are read from: the data of another model is never overwritten.
 */
export async function writeModelFiles(
  path: string,
  segments: readonly Segment[],
  layout: ExternalLayout,
  inputs: Iterable<string>,
  { checksum = false, journal }: WriteModelOptions = {},
): Promise<WrittenFile[]> {
  const dataPath = layout.isEmpty ? null : layout.pathBeside(path)
  if (dataPath !== null) await refuseForeignData(path, dataPath, inputs)
  // The larger one of the files is the one worth going on with.
  const journals = dataPath === null ? { model: journal } : { data: journal }
  const model = await AtomicFile.create(path, { checksum, ...resumed(journals.model) })
  let data: AtomicFile | null = null
  const written: WrittenFile[] = []
  try {
    if (dataPath !== null) {
      data = await AtomicFile.create(dataPath, { checksum, ...resumed(journals.data) })
      await writeSegments(layout.segments, data, journals.data)
    }
    await writeSegments(segments, model, journals.model)
    if (data) written.push(await data.commit())
  } catch (error) {
    await data?.abort()
    await model.abort()
    throw error
  }
  return [await model.commit(), ...written]
}

export interface WriteModelOptions {
  /** Whether SHA-256 of the files is taken. */
  readonly checksum?: boolean
  /** Of an unfinished file to go on with. */
  readonly journal?: Journal | undefined
}

export function resumed(journal: Journal | undefined): { resume?: number } {
  return journal ? { resume: journal.bytes } : {}
}

/** Overwriting a model together with its data is meant; overwriting only the data would ruin the model that uses it. */
async function refuseForeignData(path: string, dataPath: string, inputs: Iterable<string>): Promise<void> {
  const target = await identity(dataPath)
  if (target === null || (await identity(path)) !== null) return
  for (const input of inputs) {
    if ((await identity(input)) !== target) continue
    throw new UsageError(`write ${path}: its data would overwrite ${dataPath}, which the input model uses`, {
      cure: 'choose another name for the output',
    })
  }
}

async function identity(path: string): Promise<string | null> {
  const found = await stat(path).catch(() => null)
  return found && `${found.dev}:${found.ino}`
}
