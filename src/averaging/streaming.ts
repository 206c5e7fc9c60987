/**
 * One tensor of many members, averaged or combined when its bytes are asked for. Memory is bounded by a few ranges,
 * whatever the size of the tensor and the number of members.
 */

import { sizeOf } from '../tensor/shape.ts'
import { checkRange, type ByteSource } from '../tensor/source.ts'
import { ruleOf, type CombineMethod } from './combine-rules.ts'
import { widthOf } from './elements.ts'
import { rangesInOrder } from './ranges.ts'
import type { Rule } from './range-combine.ts'
import type { RangeResult } from './range-sum.ts'
import type { Tail } from './sum-block.ts'
import type { SummedTensor } from './summand.ts'
import { Summer } from './summer.ts'

/** Told of a tensor's pieces in their order: their hashes in the first summand of elements, in the second, and so on. */
export type Hashed = (hashes: BigUint64Array) => void

const PAIR_BYTES = 16

interface Made {
  readonly out: SharedArrayBuffer | null
  readonly hashes?: BigUint64Array
}

/** Bytes made of what members have, `width` for each element. */
abstract class RangeSource implements ByteSource {
  readonly name: string
  readonly byteLength: number
  protected readonly tensor: SummedTensor
  protected readonly summer: Summer
  readonly #width: number
  readonly #range: number

  constructor(name: string, tensor: SummedTensor, summer: Summer, width: number, range: number) {
    this.name = `${name} of tensor "${tensor.name}"`
    this.byteLength = sizeOf(tensor.dims) * width
    this.tensor = tensor
    this.summer = summer
    this.#width = width
    this.#range = range
  }

  /** Makes `count` elements from `start` on; `whole`: as a part of all of them in order. */
  protected abstract make(start: number, count: number, out: SharedArrayBuffer, whole: boolean): Promise<Made>

  /** Told of the results of `pieces`, in order. */
  protected made(_made: Made): void {
    // Most have nothing to do with them.
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    checkRange(this, offset, length)
    const width = this.#width
    const first = Math.floor(offset / width)
    const end = Math.ceil((offset + length) / width)
    const bytes = new Uint8Array((end - first) * width)
    for await (const { start, count, made } of this.#ranges(first, end, false)) {
      bytes.set(new Uint8Array(made.out!, 0, count * width), (start - first) * width)
    }
    return bytes.subarray(offset - first * width, offset - first * width + length)
  }

  async *pieces(): AsyncGenerator<Uint8Array> {
    for await (const { count, made } of this.#ranges(0, sizeOf(this.tensor.dims), true)) {
      this.made(made)
      yield new Uint8Array(made.out!, 0, count * this.#width)
    }
  }

  /** The ranges from element `first` to `end`, in order; a result is valid until the next one is asked for. */
  async *#ranges(first: number, end: number, whole: boolean) {
    const bytes = Math.min(this.#range, end - first) * this.#width
    const make = async (start: number, count: number) => {
      const out = this.summer.take(bytes)
      return { start, count, made: await this.make(start, count, out, whole) }
    }
    for await (const range of rangesInOrder(first, end, this.#range, this.summer.ahead, make)) {
      yield range
      this.summer.give(range.made.out!)
    }
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

/** The mean of a tensor, in its own dtype, as a source of packed bytes. */
export class MeanSource extends RangeSource {
  readonly #total: number
  readonly #beyond: boolean
  readonly #hashed: Hashed | undefined

  /** `total`: the weights of all members together; `hashed`: told of the members' elements when all pieces are taken. */
  constructor(tensor: SummedTensor, total: number, summer = new Summer(), hashed?: Hashed) {
    super('mean', tensor, summer, widthOf(tensor.dtype), summer.rangeOf(tensor))
    this.#total = total
    this.#beyond = tensor.summands.some(summand => summand.kind === 'elements' && summand.weight < 0)
    this.#hashed = hashed
  }

  protected make(start: number, count: number, out: SharedArrayBuffer, whole: boolean): Promise<Made> {
    const finish = { kind: 'mean', total: this.#total, beyond: this.#beyond, out } as const
    return this.summer.sum(this.tensor, start, count, { finish, hash: whole && this.#hashed !== undefined })
  }

  protected override made({ hashes }: Made): void {
    if (hashes) this.#hashed?.(hashes)
  }
}

/** The sums of a tensor as interleaved canonical pairs of float64, without the tail (`tailOf`). */
export class SumSource extends RangeSource {
  constructor(tensor: SummedTensor, summer = new Summer()) {
    super('sums', tensor, summer, PAIR_BYTES, summer.rangeOf(tensor))
  }

  protected make(start: number, count: number, out: SharedArrayBuffer): Promise<Made> {
    return this.summer.sum(this.tensor, start, count, { finish: { kind: 'pairs', out } })
  }
}

/** In each place the mean without the `trim` smallest and largest numbers. */
export class OrderSource extends RangeSource {
  readonly #trim: number

  constructor(tensor: SummedTensor, trim: number, summer = new Summer()) {
    super('trimmed mean', tensor, summer, widthOf(tensor.dtype), summer.rangeOf(tensor, true))
    this.#trim = trim
  }

  protected make(start: number, count: number, out: SharedArrayBuffer): Promise<Made> {
    return this.summer.order(this.tensor, start, count, this.#trim, out)
  }
}

/** Members combined by a rule that takes the whole tensor into account: it is read for that before. */
export class CombinedSource extends RangeSource {
  readonly #method: CombineMethod
  readonly #number: number
  #rule: Promise<Rule> | null = null

  /** `number`: that of the tensor, for methods that draw at random. */
  constructor(tensor: SummedTensor, method: CombineMethod, number: number, summer = new Summer()) {
    super(method.kind, tensor, summer, widthOf(tensor.dtype), summer.rangeOf(tensor, true))
    this.#method = method
    this.#number = number
  }

  protected async make(start: number, count: number, out: SharedArrayBuffer): Promise<Made> {
    this.#rule ??= ruleOf(this.#method, this.tensor, this.#number, this.summer)
    return this.summer.combine(this.tensor, start, count, await this.#rule, out)
  }
}

/** Mean, variance and deviations of each element, as float32. */
export class SwagSource extends RangeSource {
  readonly #rank: number

  constructor(tensor: SummedTensor, rank: number, summer = new Summer()) {
    // Results are many times as large as elements: ranges are smaller for it.
    const range = Math.ceil(summer.rangeOf(tensor, true) / (2 + rank))
    super('SWAG', tensor, summer, (2 + rank) * 4, range)
    this.#rank = rank
  }

  protected make(start: number, count: number, out: SharedArrayBuffer): Promise<Made> {
    return this.summer.swag(this.tensor, start, count, this.#rank, out)
  }
}

/** The parts of a tensor's sums that pairs cannot hold; reads all members once. */
export async function tailOf(tensor: SummedTensor, summer = new Summer(), hashed?: Hashed): Promise<Tail> {
  const indices: number[] = []
  const values: number[] = []
  const sum = async (start: number, count: number): Promise<RangeResult & { start: number }> => {
    const options = { finish: { kind: 'tail' }, hash: hashed !== undefined } as const
    return { start, ...(await summer.sum(tensor, start, count, options)) }
  }
  const ranges = rangesInOrder(0, sizeOf(tensor.dims), summer.rangeOf(tensor), summer.ahead, sum)
  for await (const { start, tail, hashes } of ranges) {
    hashed?.(hashes)
    for (const index of tail.indices) indices.push(start + index)
    for (const value of tail.values) values.push(value)
  }
  return { indices, values }
}
