/**
 * A Gaussian over weights on disk, and models drawn from it. It is a safetensors file of
 *
 * - `swag/<tensor>`: float32 [...dims, 2 + rank]: of each element mean, variance and deviations (range-swag.ts);
 * - `last/<tensor>`: a tensor that is not averaged;
 * - metadata `swa_onnx.swag` "1", `.rank`, `.dtypes` (JSON), `.fingerprint`, and those of an average.
 */

import { InputError, messageOf } from '../util/errors.ts'
import type { WrittenFile } from '../util/files.ts'
import {
  openSafetensors,
  writeSafetensors,
  type Safetensors,
  type SafetensorsContent,
} from '../serde/index.ts'
import { formatShape, sizeOf, type Shape } from '../tensor/shape.ts'
import { checkRange, type ByteSource } from '../tensor/source.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { encodeElement, viewOf, widthOf } from './elements.ts'
import { draw, mix, seedOf } from './range-combine.ts'
import { isAveraged, roundMean, type AveragedDType } from './rounding.ts'
import { readBytes } from './tensor-bytes.ts'

const KEYS = {
  format: 'swa_onnx.swag',
  rank: 'swa_onnx.rank',
  dtypes: 'swa_onnx.dtypes',
  fingerprint: 'swa_onnx.fingerprint',
}
const FORMAT = '1'

export interface SwagContent {
  readonly name: string
  readonly dtype: AveragedDType
  readonly dims: Shape
  /** 2 + rank float32 numbers for each element. */
  readonly source: ByteSource
}

export async function writeSwag(
  path: string,
  content: {
    readonly rank: number
    readonly fingerprint: string | null
    readonly gaussians: readonly SwagContent[]
    readonly last: ReadonlyMap<string, Tensor>
    readonly metadata: ReadonlyMap<string, string>
  },
): Promise<WrittenFile> {
  const { rank, fingerprint, gaussians, last, metadata } = content
  const entries: [string, SafetensorsContent][] = gaussians.map(({ name, dims, source }) => [
    `swag/${name}`,
    { dtype: 'float32', dims: [...dims, 2 + rank], source },
  ])
  for (const [name, tensor] of last) entries.push([`last/${name}`, tensor])
  const dtypes = Object.fromEntries(gaussians.map(({ name, dtype }) => [name, dtype]))
  const all = new Map([
    ...metadata,
    [KEYS.format, FORMAT],
    [KEYS.rank, String(rank)],
    [KEYS.dtypes, JSON.stringify(dtypes)],
    ...(fingerprint === null ? [] : [[KEYS.fingerprint, fingerprint] as const]),
  ])
  return writeSafetensors(path, entries, all, { checksum: true })
}

export interface Gaussian {
  readonly dtype: AveragedDType
  readonly dims: Shape
  /** float32 [...dims, 2 + rank]. */
  readonly tensor: Tensor
}

/** An open file; tensors are ranges of it until `close`. */
export interface Swag {
  readonly path: string
  /** Deviations of an element. */
  readonly rank: number
  readonly fingerprint: string | null
  readonly gaussians: ReadonlyMap<string, Gaussian>
  readonly last: ReadonlyMap<string, Tensor>
  close(): Promise<void>
}

export async function openSwag(path: string): Promise<Swag> {
  const file = await openSafetensors(path)
  try {
    return readSwag(path, file)
  } catch (error) {
    await file.close()
    throw error
  }
}

function readSwag(path: string, file: Safetensors): Swag {
  const { metadata } = file
  const format = metadata.get(KEYS.format)
  if (format !== FORMAT) {
    throw new InputError(
      `${path}: expected a Gaussian of format ${FORMAT}, found ${format === undefined ? 'another safetensors file' : `format ${format}`}`,
      { cure: 'make one with `swa-onnx average CHECKPOINTS --method swag -o FILE`' },
    )
  }
  const damaged = (what: string) => new InputError(`${path}: damaged Gaussian: ${what}`)
  const rank = Number(metadata.get(KEYS.rank))
  if (!Number.isSafeInteger(rank) || rank < 0)
    throw damaged(`its rank is ${metadata.get(KEYS.rank) ?? 'missing'}`)
  let dtypes: Readonly<Record<string, unknown>>
  try {
    dtypes = JSON.parse(metadata.get(KEYS.dtypes) ?? '') as typeof dtypes
  } catch (error) {
    throw damaged(`the metadata ${KEYS.dtypes}: ${messageOf(error)}`)
  }
  const gaussians = new Map<string, Gaussian>()
  const last = new Map<string, Tensor>()
  for (const [key, tensor] of file.tensors) {
    const slash = key.indexOf('/')
    const [kind, name] = [key.slice(0, slash), key.slice(slash + 1)]
    const dtype = Object.hasOwn(dtypes, name) ? dtypes[name] : undefined
    if (kind === 'last') last.set(name, tensor)
    else if (
      kind === 'swag' &&
      tensor.dtype === 'float32' &&
      tensor.dims.at(-1) === 2 + rank &&
      isAveraged(dtype as AveragedDType)
    )
      gaussians.set(name, { dtype: dtype as AveragedDType, dims: tensor.dims.slice(0, -1), tensor })
    else throw damaged(`tensor "${key}" ${tensor.dtype}${formatShape(tensor.dims)} is none of a Gaussian`)
  }
  const fingerprint = metadata.get(KEYS.fingerprint) ?? null
  return { path, rank, fingerprint, gaussians, last, close: () => file.close() }
}

/** Elements that are drawn at a time. */
const DRAWN = 1 << 16

export interface DrawOptions {
  readonly seed: number
  /** Factor of the covariance. The paper's Gaussian is 0.5, half of it diagonal and half of low rank; 0 is the mean. */
  readonly scale?: number
  /** Leave the deviations out: variances alone. */
  readonly diagonal?: boolean
}

/**
 * Elements of a drawn model: w = mean + sqrt(scale) (sqrt(variance) z + D^T y / sqrt(rank - 1)), z normal for each element, y
 * for each deviation; each element depends on seed, tensor and index alone. With `diagonal` the second part is missing.
 */
export class DrawnSource implements ByteSource {
  readonly name: string
  readonly byteLength: number
  readonly #gaussian: Gaussian
  readonly #factors: Float64Array
  readonly #scale: number
  readonly #seed: number

  /** `number`: that of the tensor. */
  constructor(name: string, gaussian: Gaussian, rank: number, number: number, options: DrawOptions) {
    const { seed, scale = options.diagonal ? 1 : 0.5, diagonal = false } = options
    this.name = `draw of tensor "${name}"`
    this.byteLength = sizeOf(gaussian.dims) * widthOf(gaussian.dtype)
    this.#gaussian = gaussian
    this.#scale = Math.sqrt(scale)
    this.#seed = seedOf(seed, 0, number)
    const low = diagonal || rank < 2 ? 0 : this.#scale / Math.sqrt(rank - 1)
    // One y for the whole model: its deviations are those of whole members.
    this.#factors = Float64Array.from({ length: rank }, (_, k) => low * normal(mix(seed ^ 0x5bd1e995), k))
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this, offset, length)
    const width = widthOf(this.#gaussian.dtype)
    const first = Math.floor(offset / width)
    const end = Math.ceil((offset + length) / width)
    const out = new Uint8Array((end - first) * width)
    // What is read is many times as large as what comes of it.
    for (let start = first; start < end; start += DRAWN) {
      const count = Math.min(DRAWN, end - start)
      const at = (start - first) * width
      await this.#draw(start, count, out.subarray(at, at + count * width))
    }
    return out.subarray(offset - first * width, offset - first * width + length)
  }

  async #draw(start: number, count: number, out: Uint8Array): Promise<void> {
    const { dtype, tensor } = this.#gaussian
    const columns = 2 + this.#factors.length
    const bytes = await readBytes(tensor, start * columns * 4, count * columns * 4)
    const x = viewOf('float32', bytes) as Float32Array
    const elements = viewOf(dtype, out)
    for (let i = 0, at = 0; i < count; i++, at += columns) {
      let w = x[at]! + this.#scale * Math.sqrt(x[at + 1]!) * normal(this.#seed, start + i)
      for (let k = 0; k < this.#factors.length; k++) w += this.#factors[k]! * x[at + 2 + k]!
      elements[i] = encodeElement(dtype, roundMean([w], 1, dtype))
    }
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

/** A standard normal number for each index: Box and Muller, 1958. */
function normal(seed: number, index: number): number {
  const u = (draw(seed, index) + 1) / 2 ** 32
  const v = draw(mix(seed + 0x68e31da4), index) / 2 ** 32
  return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v)
}
