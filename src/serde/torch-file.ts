/**
 * PyTorch checkpoints (`torch.save` since 1.6): a zip archive with a pickle of the structure and one stored member for
 * each storage. Nothing of the pickle is executed: of calls those that make tensors are known, by name. Source:
 * torch/serialization.py and torch/_utils.py (`_rebuild_tensor_v2`).
 */

import { openSource } from '../remote/index.ts'
import type { DType } from '../tensor/dtype.ts'
import { byteLengthOf } from '../tensor/dtype.ts'
import { formatShape, sizeOf, stridesOf, type Shape } from '../tensor/shape.ts'
import type { ByteRange, ByteSource } from '../tensor/source.ts'
import { Tensor } from '../tensor/tensor.ts'
import { InputError, UnsupportedError } from '../util/errors.ts'
import { PickleCall, PickleName, PickleReference, readPickle, type PickleValue } from './pickle.ts'
import { locateZipEntry, readZipDirectory, readZipEntry, type ZipEntry } from './zip.ts'

export interface TorchFile {
  /** The tensors of the state dict; not in memory until they are asked for. */
  readonly tensors: ReadonlyMap<string, Tensor>
  /** Where in the file the state dict was: `state_dict`, or '' for the whole. */
  readonly place: string
  close(): Promise<void>
}

const STORAGES: Readonly<Record<string, DType>> = {
  FloatStorage: 'float32',
  DoubleStorage: 'float64',
  HalfStorage: 'float16',
  BFloat16Storage: 'bfloat16',
  LongStorage: 'int64',
  IntStorage: 'int32',
  ShortStorage: 'int16',
  CharStorage: 'int8',
  ByteStorage: 'uint8',
  BoolStorage: 'bool',
}

/** Where training scripts keep the weights of a model, the most usual first. */
const PLACES = ['state_dict', 'model_state_dict', 'model', 'module', 'net', 'network', 'weights']
/** A pickle of a state dict holds names and shapes; what is larger holds something else. */
const LARGEST_PICKLE = 256 * 2 ** 20
const ALONE = { cure: 'save the state dict alone: torch.save(model.state_dict(), path)' }

/** Opens a checkpoint, a path or URL; the tensors are ranges of it until `close`. */
export async function openTorchFile(location: string): Promise<TorchFile> {
  const source = await openSource(location)
  const path = source.name
  try {
    const entries = await readZipDirectory(source)
    const pickle = entries.find(({ name }) => name === 'data.pkl' || name.endsWith('/data.pkl'))
    if (!pickle)
      throw new InputError(`${path}: expected a checkpoint of PyTorch, found a zip archive without data.pkl`)
    if (pickle.size > LARGEST_PICKLE)
      throw new UnsupportedError(
        `${path}: its data.pkl has ${pickle.size} bytes, which is no state dict`,
        ALONE,
      )
    const folder = pickle.name.slice(0, -'data.pkl'.length)
    const members = new Map(entries.map(entry => [entry.name, entry]))
    await checkByteOrder(source, members.get(`${folder}byteorder`))
    const root = readPickle(await readZipEntry(source, pickle), `${path}[${pickle.name}]`)
    const { place, dict } = findStateDict(path, root)
    const storages = new Storages(source, name => members.get(`${folder}data/${name}`))
    const tensors = new Map<string, Tensor>()
    for (const [name, value] of namedTensors(path, dict))
      tensors.set(name, await storages.tensor(name, value))
    return { tensors, place, close: () => source.close() }
  } catch (error) {
    await source.close()
    throw error
  }
}

async function checkByteOrder(source: ByteSource, entry: ZipEntry | undefined): Promise<void> {
  if (!entry) return
  const order = Buffer.from(await readZipEntry(source, entry))
    .toString('latin1')
    .trim()
  if (order !== 'little')
    throw new UnsupportedError(`${source.name}: its numbers are ${order}-endian, expected little-endian`)
}

type Dict = ReadonlyMap<PickleValue, PickleValue>

/** A dict, also as the OrderedDict that `state_dict()` gives. */
function dictOf(value: PickleValue | undefined): Dict | null {
  if (value instanceof Map) return value
  if (value instanceof PickleCall && value.name === 'collections.OrderedDict') return value.items
  return null
}

function findStateDict(path: string, root: PickleValue): { place: string; dict: Dict } {
  const whole = dictOf(root)
  if (!whole) throw new UnsupportedError(`${path}: expected a state dict, found ${describe(root)}`, ALONE)
  const candidates = ['', ...PLACES].map(place => ({
    place,
    dict: place === '' ? whole : dictOf(whole.get(place)),
  }))
  for (const { place, dict } of candidates) {
    if (dict && [...dict.values()].some(isTensor)) return { place, dict }
  }
  const names = [...whole.keys()].map(String).slice(0, 8)
  throw new InputError(
    `${path}: no state dict in it: expected one as the whole or under ${PLACES.join(', ')}, found ${names.join(', ') || 'nothing'}`,
    ALONE,
  )
}

function describe(value: PickleValue): string {
  if (value instanceof PickleCall || value instanceof PickleName)
    return `a ${value.name}, which would have to be executed`
  return Array.isArray(value) ? 'a list' : `a ${typeof value}`
}

const PARAMETER = 'torch._utils._rebuild_parameter'
const TENSOR = 'torch._utils._rebuild_tensor_v2'

function isTensor(value: PickleValue | undefined): value is PickleCall {
  return value instanceof PickleCall && (value.name === TENSOR || value.name === PARAMETER)
}

/** The tensors of a state dict; numbers and settings between them (`_extra_state`, versions) are no weights. */
function* namedTensors(path: string, dict: Dict): Generator<[string, PickleCall]> {
  for (const [name, value] of dict) {
    if (typeof name !== 'string')
      throw new InputError(`${path}: a weight is named ${describe(name)}, expected text`)
    if (isTensor(value)) yield [name, value]
    else if (value instanceof PickleCall && dictOf(value) === null) {
      throw new UnsupportedError(`${path}: "${name}" is ${describe(value)}, expected a tensor`, ALONE)
    }
  }
}

class Storages {
  readonly #source: ByteSource
  readonly #find: (name: string) => ZipEntry | undefined
  readonly #ranges = new Map<string, ByteRange>()

  constructor(source: ByteSource, find: (name: string) => ZipEntry | undefined) {
    this.#source = source
    this.#find = find
  }

  /** (storage, offset, size, stride, ...) as a tensor: a range of the file, or elements put in order. */
  async tensor(name: string, call: PickleCall): Promise<Tensor> {
    const where = `${this.#source.name}: tensor "${name}"`
    if (call.name === PARAMETER) {
      const [data] = call.args
      if (!(data instanceof PickleCall && data.name === TENSOR))
        throw new InputError(`${where}: a parameter without data`)
      return this.tensor(name, data)
    }
    const [reference, first, size, stride] = call.args
    const { dtype, range, count } = await this.#storage(where, reference)
    const dims = wholeNumbers(where, 'size', size)
    const strides = wholeNumbers(where, 'stride', stride)
    if (strides.length !== dims.length || !Number.isSafeInteger(sizeOf(dims)))
      throw new InputError(
        `${where}: size ${formatShape(dims)} does not go with stride ${formatShape(strides)}`,
      )
    const [start] = wholeNumbers(where, 'offset', [first ?? null])
    const last = dims.reduce((at, dim, axis) => at + Math.max(0, dim - 1) * strides[axis]!, start!)
    const empty = sizeOf(dims) === 0
    if (!empty && last >= count)
      throw new InputError(`${where}: needs element ${last} of a storage of ${count}`, {
        cure: 'the file is damaged; save it again',
      })
    if (sizeOf(dims) > count)
      throw new UnsupportedError(`${where}: shows elements of its storage more than once`, {
        cure: 'save a copy: tensor.contiguous()',
      })
    const width = byteLengthOf(dtype, 1)
    const offset = range.offset + start! * width
    if (empty || isContiguous(dims, strides)) {
      const length = byteLengthOf(dtype, sizeOf(dims))
      return new Tensor(dtype, dims, { source: range.source, offset: empty ? range.offset : offset, length })
    }
    const bytes = await range.source.read(offset, (last - start! + 1) * width)
    return new Tensor(dtype, dims, inOrder(bytes, dims, strides, width))
  }

  async #storage(where: string, reference: PickleValue | undefined) {
    const id = reference instanceof PickleReference ? reference.id : null
    const [kind, type, key, , count] = Array.isArray(id) ? id : []
    if (
      kind !== 'storage' ||
      !(type instanceof PickleName) ||
      typeof key !== 'string' ||
      typeof count !== 'number'
    )
      throw new InputError(`${where}: expected a storage, found ${describe(reference ?? null)}`)
    const dtype = STORAGES[type.name.replace(/^torch\./, '')]
    if (dtype === undefined) throw new UnsupportedError(`${where}: elements of ${type.name} are not averaged`)
    const range = this.#ranges.get(key) ?? (await this.#locate(where, key))
    this.#ranges.set(key, range)
    if (range.length < count * byteLengthOf(dtype, 1))
      throw new InputError(
        `${where}: its storage ${key} has ${range.length} bytes, expected ${count} elements of ${dtype}`,
      )
    return { dtype, range, count }
  }

  async #locate(where: string, key: string): Promise<ByteRange> {
    const entry = this.#find(key)
    if (!entry) throw new InputError(`${where}: its storage ${key} is not in the file`)
    return locateZipEntry(this.#source, entry)
  }
}

function wholeNumbers(where: string, what: string, value: PickleValue | undefined): number[] {
  if (Array.isArray(value) && value.every(item => Number.isSafeInteger(item) && (item as number) >= 0))
    return value as number[]
  throw new InputError(`${where}: its ${what} is no list of whole numbers`)
}

/** Whether elements lie in row-major order; the stride of an axis of one element does not matter. */
function isContiguous(dims: Shape, strides: readonly number[]): boolean {
  const expected = stridesOf(dims)
  return dims.every((dim, axis) => dim === 1 || strides[axis] === expected[axis])
}

/** The elements of a strided view in row-major order. */
function inOrder(bytes: Uint8Array, dims: Shape, strides: readonly number[], width: number): Uint8Array {
  const out = new Uint8Array(sizeOf(dims) * width)
  const index = new Array<number>(dims.length).fill(0)
  let at = 0
  for (let i = 0; i < out.length; i += width) {
    out.set(bytes.subarray(at * width, (at + 1) * width), i)
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      at += strides[axis]!
      if (++index[axis]! < dims[axis]!) break
      at -= strides[axis]! * dims[axis]!
      index[axis] = 0
    }
  }
  return out
}
