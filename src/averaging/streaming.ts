/**
 * Means and sums of one tensor over many members, computed when their bytes are asked for. Memory is bounded by one block
 * of sums and a few reads ahead, whatever the size of the tensor and the number of members.
 */

import { InputError, invariant } from '../util/errors.ts'
import { DTYPES } from '../tensor/dtype.ts'
import { formatShape, sizeOf, stridesOf, type Shape } from '../tensor/shape.ts'
import { checkRange, type ByteSource } from '../tensor/source.ts'
import { Tensor } from '../tensor/tensor.ts'
import { BlockMemory } from './block-memory.ts'
import { BLOCK, SumBlock, UnsummableValue, type Tail } from './sum-block.ts'
import type { AveragedDType } from './rounding.ts'

/** What one member adds to the sums of a tensor. */
export type Summand =
  /** weight · element. */
  | {
      readonly kind: 'elements'
      /** The file, for messages. */
      readonly member: string
      readonly tensor: Tensor
      readonly weight: number
    }
  /** Sums of other members (partial.ts): pairs of float64, and a tail in the order of its indices. */
  | { readonly kind: 'sums'; readonly member: string; readonly pairs: Tensor; readonly tail: Tail }

/** A tensor to be averaged. */
export interface SummedTensor {
  readonly name: string
  readonly dtype: AveragedDType
  readonly dims: Shape
  readonly summands: readonly Summand[]
}

/** Reads under way at once: as many as the I/O threads that Node has by default. */
const READS_AHEAD = 4

/** The mean of a tensor, in its own dtype, as a source of packed bytes. */
export class MeanSource implements ByteSource {
  readonly name: string
  readonly byteLength: number
  readonly #tensor: SummedTensor
  readonly #total: number

  /** `total`: the weights of all members together. */
  constructor(tensor: SummedTensor, total: number) {
    this.name = `mean of tensor "${tensor.name}"`
    this.byteLength = (sizeOf(tensor.dims) * DTYPES[tensor.dtype].bits) / 8
    this.#tensor = tensor
    this.#total = total
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this, offset, length)
    const { dtype } = this.#tensor
    const width = DTYPES[dtype].bits / 8
    const first = Math.floor(offset / width)
    const end = Math.ceil((offset + length) / width)
    const bytes = new Uint8Array((end - first) * width)
    for await (const { block, start, count } of sumBlocks(this.#tensor, first, end)) {
      const target = bytes.subarray((start - first) * width, (start - first + count) * width)
      block.mean(dtype, this.#total, viewOf(dtype, target))
    }
    return bytes.subarray(offset - first * width, offset - first * width + length)
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

const PAIR_BYTES = 16

/** The sums of a tensor as interleaved canonical pairs of float64, without the tail (`tailOf`). */
export class SumSource implements ByteSource {
  readonly name: string
  readonly byteLength: number
  readonly #tensor: SummedTensor

  constructor(tensor: SummedTensor) {
    this.name = `sums of tensor "${tensor.name}"`
    this.byteLength = sizeOf(tensor.dims) * PAIR_BYTES
    this.#tensor = tensor
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this, offset, length)
    const first = Math.floor(offset / PAIR_BYTES)
    const end = Math.ceil((offset + length) / PAIR_BYTES)
    const pairs = new Float64Array((end - first) * 2)
    for await (const { block, start, count } of sumBlocks(this.#tensor, first, end)) {
      block.pairs(pairs.subarray((start - first) * 2, (start - first + count) * 2))
    }
    return new Uint8Array(pairs.buffer, offset - first * PAIR_BYTES, length)
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

/** The parts of a tensor's sums that pairs cannot hold; reads all members once. */
export async function tailOf(tensor: SummedTensor): Promise<Tail> {
  const indices: number[] = []
  const values: number[] = []
  for await (const { block, start } of sumBlocks(tensor, 0, sizeOf(tensor.dims))) {
    const tail = block.tail()
    for (const index of tail.indices) indices.push(start + index)
    for (const value of tail.values) values.push(value)
  }
  return { indices, values }
}

/** Memories that no block uses; as many as there were blocks at one time. */
const idle: BlockMemory[] = []

/** Sums of elements `first` to `end`, block by block; a block is to be used before the next one is asked for. */
async function* sumBlocks(
  tensor: SummedTensor,
  first: number,
  end: number,
): AsyncGenerator<{ block: SumBlock; start: number; count: number }> {
  if (first === end) return
  const memory = idle.pop() ?? BlockMemory.create(BLOCK)
  const block = new SumBlock(Math.min(BLOCK, end - first), memory)
  const { summands } = tensor
  const blocks = Math.ceil((end - first) / block.size)
  const rangeOf = (b: number) => {
    const start = first + b * block.size
    return { start, count: Math.min(block.size, end - start) }
  }
  const reads = readAhead(blocks * summands.length, job => {
    const { start, count } = rangeOf(Math.floor(job / summands.length))
    return readSummand(summands[job % summands.length]!, start, count)
  })
  try {
    for (let b = 0; b < blocks; b++) {
      const range = rangeOf(b)
      block.reset()
      for (const summand of summands) {
        const bytes = (await reads.next()).value!
        addSummand(tensor, block, summand, bytes, range)
      }
      yield { block, ...range }
    }
  } finally {
    if (memory) idle.push(memory)
  }
}

/** Runs `count` reads in order, a few of them at the same time. */
async function* readAhead<T>(count: number, read: (job: number) => Promise<T>): AsyncGenerator<T, undefined> {
  const flying: Promise<T>[] = []
  let next = 0
  for (let job = 0; job < count; job++) {
    for (; next < count && flying.length < READS_AHEAD; next++) {
      const promise = read(next)
      // A failure is reported when its turn comes; until then it must not count as unhandled.
      promise.catch(() => undefined)
      flying.push(promise)
    }
    yield await flying.shift()!
  }
  return undefined
}

function readSummand(summand: Summand, start: number, count: number): Promise<Uint8Array> {
  if (summand.kind === 'sums') return readBytes(summand.pairs, start * PAIR_BYTES, count * PAIR_BYTES)
  const width = DTYPES[summand.tensor.dtype].bits / 8
  return readBytes(summand.tensor, start * width, count * width)
}

/** A range of a tensor's packed bytes. */
export function readBytes({ data }: Tensor, offset: number, length: number): Promise<Uint8Array> {
  if (data instanceof Uint8Array) return Promise.resolve(data.subarray(offset, offset + length))
  invariant('source' in data, 'strings have no packed bytes')
  return data.source.read(data.offset + offset, length)
}

function addSummand(
  tensor: SummedTensor,
  block: SumBlock,
  summand: Summand,
  bytes: Uint8Array,
  { start, count }: { start: number; count: number },
): void {
  try {
    if (summand.kind === 'elements') {
      block.add(tensor.dtype, viewOf(tensor.dtype, bytes), summand.weight)
      return
    }
    block.addPairs(viewOf('float64', bytes) as Float64Array)
    const { indices, values } = summand.tail
    for (let k = lowerBound(indices, start); k < indices.length && indices[k]! < start + count; k++) {
      block.addAt(indices[k]! - start, values[k]!)
    }
  } catch (error) {
    if (!(error instanceof UnsummableValue)) throw error
    throw unsummable(tensor, summand.member, start + error.index, error.value)
  }
}

function unsummable(
  { name, dtype, dims }: SummedTensor,
  member: string,
  index: number,
  value: number,
): InputError {
  const place = formatShape(stridesOf(dims).map((stride, axis) => Math.floor(index / stride) % dims[axis]!))
  return new InputError(
    `average: ${member}: tensor "${name}" ${dtype}${formatShape(dims)}, element ${index} at ${place}: expected a finite number, found ${value}`,
    { cure: 'leave this member out: its training had diverged when it was saved' },
  )
}

/** The position of the first index that is not below `index`. */
function lowerBound(indices: readonly number[], index: number): number {
  let low = 0
  let high = indices.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (indices[middle]! < index) low = middle + 1
    else high = middle
  }
  return low
}

function viewOf(dtype: AveragedDType, bytes: Uint8Array): Float32Array | Float64Array | Uint16Array {
  const size = (bytes.byteLength * 8) / DTYPES[dtype].bits
  return new Tensor(dtype, [size], bytes).view() as Float32Array | Float64Array | Uint16Array
}
