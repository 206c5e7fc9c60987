/** Sums ranges of tensors, in several threads or in this one. */

import { availableParallelism } from 'node:os'
import { InputError, invariant } from '../util/errors.ts'
import { formatShape, stridesOf, type Shape } from '../tensor/shape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { inOrder, type Channel } from '../util/channel.ts'
import { Thread } from '../util/thread.ts'
import { GROUP } from './block-memory.ts'
import {
  blockOf,
  lowerBound,
  RangeSum,
  widthOf,
  type Finish,
  type Place,
  type RangeResult,
  type RangeSummand,
} from './range-sum.ts'
import type { AveragedDType } from './rounding.ts'
import type { Unsummable } from './specials.ts'
import type { SumRequests } from './sum-messages.ts'
import type { Tail } from './sum-block.ts'
import { readBytes } from './tensor-bytes.ts'

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

export interface SumOptions {
  readonly finish: Finish
  readonly hash?: boolean
}

/** Blocks of a range that a thread reads by itself. */
const RANGE_BLOCKS = 16
const PAIR_BYTES = 16
/** Bytes to be read from which threads are worth their start. */
const WORTH_THREADS = 1 << 26

export interface SummerOptions {
  /** Threads; default: one for each core, at most eight. 0: this thread. */
  readonly threads?: number
  /** Bytes that will be read. */
  readonly bytes?: number
  readonly nonfinite?: 'refuse' | 'allow'
}

/** A thread's requests: a block that comes in several is not mixed with others. */
class Lane {
  readonly #channel: Channel<SumRequests>
  #free: Promise<unknown> = Promise.resolve()
  load = 0

  constructor(channel: Channel<SumRequests>) {
    this.#channel = channel
  }

  async use<T>(ask: (channel: Channel<SumRequests>) => Promise<T>, alone: boolean): Promise<T> {
    this.load++
    try {
      const before = this.#free
      if (!alone) {
        await before
        return await ask(this.#channel)
      }
      const turn = before.then(() => ask(this.#channel))
      this.#free = turn.catch(() => undefined)
      return await turn
    } finally {
      this.load--
    }
  }
}

export class Summer {
  readonly #lanes: readonly Lane[]
  readonly #nonfinite: 'refuse' | 'allow'
  readonly #close: () => Promise<void>

  constructor({ threads, bytes = 0, nonfinite = 'refuse' }: SummerOptions = {}) {
    const count = threads ?? (bytes < WORTH_THREADS ? 0 : Math.min(8, availableParallelism()))
    const started = Array.from(
      { length: count },
      () => new Thread<SumRequests>('./sum-thread', import.meta.url, 'averaging'),
    )
    this.#lanes = (count > 0 ? started : [here()]).map(channel => new Lane(channel))
    this.#nonfinite = nonfinite
    this.#close = async () => {
      for (const thread of started) await thread.close()
    }
  }

  /** Ranges that keep all threads busy. */
  get ahead(): number {
    return 2 * this.#lanes.length + 1
  }

  /** Elements of a range of this tensor. */
  rangeOf({ dtype, summands }: SummedTensor): number {
    return blockOf(dtype) * (summands.every(summand => fileOf(tensorOf(summand)) !== null) ? RANGE_BLOCKS : 1)
  }

  /** Sums `count` elements from `start` on: at most a range. */
  async sum(tensor: SummedTensor, start: number, count: number, options: SumOptions): Promise<RangeResult> {
    const { dtype, summands } = tensor
    const { finish, hash = false } = options
    const request = { dtype, count, hash, nonfinite: this.#nonfinite }
    const lane = this.#lanes.reduce((best, other) => (other.load < best.load ? other : best))
    const transfer = 'out' in finish ? [finish.out] : []
    const inFiles = summands.every(summand => fileOf(tensorOf(summand)) !== null)
    const result = await lane.use(async channel => {
      if (inFiles) {
        const places = summands.map(summand =>
          rangeSummand(summand, dtype, start, placeIn(summand, dtype, start)),
        )
        return channel.request('sum', { ...request, summands: places, first: true, finish }, transfer)
      }
      const hashes: BigUint64Array[] = []
      let last: RangeResult | null = null
      for (let s = 0; s < summands.length; s += GROUP) {
        const group = await Promise.all(
          summands.slice(s, s + GROUP).map(async summand => {
            const bytes = await readSummand(summand, dtype, start, count)
            // A view is sent with all that it is a view of.
            const own = bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice()
            return rangeSummand(summand, dtype, start, { bytes: own })
          }),
        )
        const isLast = s + GROUP >= summands.length
        last = await channel.request(
          'sum',
          { ...request, summands: group, first: s === 0, finish: isLast ? finish : null },
          isLast ? transfer : [],
        )
        hashes.push(last.hashes)
        if (last.refused) break
      }
      invariant(last, `tensor "${tensor.name}" has no summands`)
      return { ...last, hashes: BigUint64Array.from(hashes.flatMap(list => [...list])) }
    }, !inFiles)
    if (result.refused) throw refusal(tensor, start, result.refused)
    return result
  }

  /** Ends the threads; waits for what they do. */
  close(): Promise<void> {
    return this.#close()
  }
}

function here(): Channel<SumRequests> {
  const sums = new RangeSum()
  return inOrder<SumRequests>({ sum: request => Promise.resolve().then(() => sums.run(request)) })
}

function tensorOf(summand: Summand): Tensor {
  return summand.kind === 'sums' ? summand.pairs : summand.tensor
}

/** Where a tensor's bytes begin in an open file; null where they are elsewhere. */
function fileOf({ data }: Tensor): { fd: number; position: number; name: string } | null {
  if (!('source' in data) || data.source.fd === undefined) return null
  return { fd: data.source.fd, position: data.offset, name: data.source.name }
}

function bytesBefore(summand: Summand, dtype: AveragedDType, elements: number): number {
  return elements * (summand.kind === 'sums' ? PAIR_BYTES : widthOf(dtype))
}

function placeIn(summand: Summand, dtype: AveragedDType, start: number): Place {
  const { fd, position, name } = fileOf(tensorOf(summand))!
  return { fd, name, position: position + bytesBefore(summand, dtype, start) }
}

function readSummand(
  summand: Summand,
  dtype: AveragedDType,
  start: number,
  count: number,
): Promise<Uint8Array> {
  const bytes = (elements: number) => bytesBefore(summand, dtype, elements)
  return readBytes(tensorOf(summand), bytes(start), bytes(count))
}

function rangeSummand(summand: Summand, dtype: AveragedDType, start: number, place: Place): RangeSummand {
  if (summand.kind === 'elements') return { kind: 'elements', weight: summand.weight, place }
  const { indices, values } = summand.tail
  const first = lowerBound(indices, start)
  const end = lowerBound(indices, start + blockOf(dtype) * RANGE_BLOCKS)
  const tail = {
    indices: indices.slice(first, end).map(index => index - start),
    values: values.slice(first, end),
  }
  return { kind: 'sums', place, tail }
}

function refusal(
  { name, dtype, dims, summands }: SummedTensor,
  start: number,
  { summand, index: at, value }: Unsummable,
): InputError {
  const index = start + at
  const place = formatShape(stridesOf(dims).map((stride, axis) => Math.floor(index / stride) % dims[axis]!))
  return new InputError(
    `average: ${summands[summand]!.member}: tensor "${name}" ${dtype}${formatShape(dims)}, element ${index} at ${place}: expected a finite number, found ${value}`,
    {
      cure: 'leave this member out, as its training had diverged when it was saved; or take NaN and infinities over with --allow-nonfinite',
    },
  )
}
