/**
 * Means and sums of one tensor over many members, made when their bytes are asked for. Memory is bounded by a few ranges,
 * whatever the size of the tensor and the number of members.
 */

import { sizeOf } from '../tensor/shape.ts'
import { checkRange, type ByteSource } from '../tensor/source.ts'
import { widthOf, type Finish, type RangeResult } from './range-sum.ts'
import type { Tail } from './sum-block.ts'
import { Summer, type SummedTensor } from './summer.ts'

/** Told of a tensor's pieces in their order: their hashes in the first summand of elements, in the second, and so on. */
export type Hashed = (hashes: BigUint64Array) => void

const PAIR_BYTES = 16

/** Bytes made of the sums of a tensor, `width` for each element. */
abstract class Summed implements ByteSource {
  readonly name: string
  readonly byteLength: number
  readonly #tensor: SummedTensor
  readonly #summer: Summer
  readonly #width: number
  readonly #hashed: Hashed | undefined

  constructor(name: string, tensor: SummedTensor, summer: Summer, width: number, hashed?: Hashed) {
    this.name = name
    this.byteLength = sizeOf(tensor.dims) * width
    this.#tensor = tensor
    this.#summer = summer
    this.#width = width
    this.#hashed = hashed
  }

  protected abstract finish(out: ArrayBuffer): Finish

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this, offset, length)
    const width = this.#width
    const first = Math.floor(offset / width)
    const end = Math.ceil((offset + length) / width)
    const bytes = new Uint8Array((end - first) * width)
    for await (const { start, count, result } of this.#ranges(first, end, false)) {
      bytes.set(new Uint8Array(result.out!, 0, count * width), (start - first) * width)
    }
    return bytes.subarray(offset - first * width, offset - first * width + length)
  }

  async *pieces(): AsyncGenerator<Uint8Array> {
    const hashed = this.#hashed
    for await (const { count, result } of this.#ranges(0, sizeOf(this.#tensor.dims), hashed !== undefined)) {
      hashed?.(result.hashes)
      yield new Uint8Array(result.out!, 0, count * this.#width)
    }
  }

  /** The ranges from element `first` to `end`, in order; a result is valid until the next one is asked for. */
  async *#ranges(first: number, end: number, hash: boolean) {
    const size = this.#summer.rangeOf(this.#tensor)
    const bytes = Math.min(size, end - first) * this.#width
    const free: ArrayBuffer[] = []
    const sum = async (start: number) => {
      const count = Math.min(size, end - start)
      const finish = this.finish(free.pop() ?? new ArrayBuffer(bytes))
      return { start, count, result: await this.#summer.sum(this.#tensor, start, count, { finish, hash }) }
    }
    for await (const range of inOrder(first, end, size, this.#summer.ahead, sum)) {
      yield range
      free.push(range.result.out!)
    }
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

/** The mean of a tensor, in its own dtype, as a source of packed bytes. */
export class MeanSource extends Summed {
  readonly #total: number

  /** `total`: the weights of all members together; `hashed`: told of the members' elements when all pieces are taken. */
  constructor(tensor: SummedTensor, total: number, summer = new Summer(), hashed?: Hashed) {
    super(`mean of tensor "${tensor.name}"`, tensor, summer, widthOf(tensor.dtype), hashed)
    this.#total = total
  }

  protected finish(out: ArrayBuffer): Finish {
    return { kind: 'mean', total: this.#total, out }
  }
}

/** The sums of a tensor as interleaved canonical pairs of float64, without the tail (`tailOf`). */
export class SumSource extends Summed {
  constructor(tensor: SummedTensor, summer = new Summer()) {
    super(`sums of tensor "${tensor.name}"`, tensor, summer, PAIR_BYTES)
  }

  protected finish(out: ArrayBuffer): Finish {
    return { kind: 'pairs', out }
  }
}

/** The parts of a tensor's sums that pairs cannot hold; reads all members once. */
export async function tailOf(tensor: SummedTensor, summer = new Summer(), hashed?: Hashed): Promise<Tail> {
  const indices: number[] = []
  const values: number[] = []
  const size = summer.rangeOf(tensor)
  const end = sizeOf(tensor.dims)
  const sum = async (start: number): Promise<RangeResult & { start: number }> => {
    const count = Math.min(size, end - start)
    const options = { finish: { kind: 'tail' }, hash: hashed !== undefined } as const
    return { start, ...(await summer.sum(tensor, start, count, options)) }
  }
  for await (const { start, tail, hashes } of inOrder(0, end, size, summer.ahead, sum)) {
    hashed?.(hashes)
    for (const index of tail.indices) indices.push(start + index)
    for (const value of tail.values) values.push(value)
  }
  return { indices, values }
}

/** Runs a job for each range from `first` to `end`; gives the results in order, `ahead` jobs being under way. */
async function* inOrder<T>(
  first: number,
  end: number,
  size: number,
  ahead: number,
  run: (start: number) => Promise<T>,
): AsyncGenerator<T, undefined> {
  const flying: Promise<T>[] = []
  let next = first
  while (next < end || flying.length > 0) {
    for (; next < end && flying.length < ahead; next += size) {
      const promise = run(next)
      // A failure is reported when its turn comes; until then it must not count as unhandled.
      promise.catch(() => undefined)
      flying.push(promise)
    }
    yield await flying.shift()!
  }
  return undefined
}
