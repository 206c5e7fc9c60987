/** Sums and combines ranges of tensors, in several threads or in this one. */

import { availableParallelism } from 'node:os'
import { invariant } from '../util/errors.ts'
import { inOrder, type Channel } from '../util/channel.ts'
import { Thread } from '../util/thread.ts'
import { GROUP } from './block-memory.ts'
import { widthOf } from './elements.ts'
import type { Measure, MeasureResult, Rule } from './range-combine.ts'
import type { OutResult } from './range-order.ts'
import { blockOf, type Finish, type RangeResult } from './range-sum.ts'
import { isInFiles, placeOf, rangeSummand, refusal, type SummedTensor } from './summand.ts'
import { sumHandlers, type SumRequests } from './sum-messages.ts'

export interface SummerOptions {
  /** Threads; default: one for each core, at most eight, none for few bytes. 0: this thread. */
  readonly threads?: number
  /** Bytes that will be read. */
  readonly bytes?: number
  readonly nonfinite?: 'refuse' | 'allow'
}

export interface SumOptions {
  readonly finish: Finish
  readonly hash?: boolean
}

/** Blocks of a range that a thread reads by itself. */
const RANGE_BLOCKS = 16
/** Bytes of all members in a range that is read here. */
const RANGE_BYTES = 1 << 22
/** Bytes to be read from which threads are worth their start. */
const WORTH_THREADS = 1 << 26
const MOST_THREADS = 8

/** A thread, and how much is asked of it. */
interface Lane {
  readonly channel: Channel<SumRequests>
  load: number
  /** When the last sum that comes in several requests is through: one at a time. */
  parts: Promise<unknown>
}

export class Summer {
  readonly #lanes: readonly Lane[]
  readonly #threads: readonly Thread<SumRequests>[]
  readonly #nonfinite: 'refuse' | 'allow'
  readonly #free = new Map<number, SharedArrayBuffer[]>()

  constructor({ threads, bytes = 0, nonfinite = 'refuse' }: SummerOptions = {}) {
    const usual = bytes < WORTH_THREADS ? 0 : Math.min(MOST_THREADS, availableParallelism())
    this.#threads = Array.from(
      { length: threads ?? usual },
      () => new Thread<SumRequests>('./sum-thread', import.meta.url, 'averaging'),
    )
    const channels = this.#threads.length > 0 ? this.#threads : [inOrder(sumHandlers())]
    this.#lanes = channels.map(channel => ({ channel, load: 0, parts: Promise.resolve() }))
    this.#nonfinite = nonfinite
  }

  /** Memory for results, used again: garbage of this size is collected too late. */
  take(bytes: number): SharedArrayBuffer {
    return this.#free.get(bytes)?.pop() ?? new SharedArrayBuffer(bytes)
  }

  give(buffer: SharedArrayBuffer): void {
    const free = this.#free.get(buffer.byteLength)
    if (free) free.push(buffer)
    else this.#free.set(buffer.byteLength, [buffer])
  }

  /** Ranges that keep all threads busy. */
  get ahead(): number {
    return 2 * this.#lanes.length + 1
  }

  /** Elements of a range; `together`: all members of it are needed at once. */
  rangeOf(tensor: SummedTensor, together = false): number {
    const block = blockOf(tensor.dtype)
    if (isInFiles(tensor)) return block * RANGE_BLOCKS
    if (!together) return block
    const share = Math.floor(RANGE_BYTES / tensor.summands.length / widthOf(tensor.dtype))
    return Math.min(block, Math.max(1024, share))
  }

  /** Sums `count` elements from `start` on: at most a range. */
  async sum(tensor: SummedTensor, start: number, count: number, options: SumOptions): Promise<RangeResult> {
    const { dtype, summands } = tensor
    const { finish, hash = false } = options
    const group = isInFiles(tensor) ? summands.length : GROUP
    const lane = this.#lane()
    const ask = async () => {
      const hashes: BigUint64Array[] = []
      let last: RangeResult | null = null
      for (let s = 0; s < summands.length && !last?.refused; s += group) {
        const members = summands.slice(s, s + group)
        const ranges = await Promise.all(members.map(one => rangeSummand(one, dtype, start, count)))
        const isLast = s + group >= summands.length
        const request = { dtype, count, hash, nonfinite: this.#nonfinite, summands: ranges, first: s === 0 }
        last = await lane.channel.request('sum', { ...request, finish: isLast ? finish : null })
        hashes.push(last.hashes)
      }
      invariant(last, `tensor "${tensor.name}" has no summands`)
      return hashes.length === 1 ? last : { ...last, hashes: joined(hashes) }
    }
    const result = await this.#counted(lane, () => {
      if (group >= summands.length) return ask()
      const turn = lane.parts.then(ask)
      lane.parts = turn.catch(() => undefined)
      return turn
    })
    if (result.refused) throw refusal(tensor, start, result.refused)
    return result
  }

  /** Sorts the numbers of each place and averages them without the `trim` smallest and largest. */
  async order(
    tensor: SummedTensor,
    start: number,
    count: number,
    trim: number,
    out: SharedArrayBuffer,
  ): Promise<OutResult> {
    const { dtype } = tensor
    const places = await this.#places(tensor, start, count)
    const lane = this.#lane()
    const request = { dtype, count, places, trim, nonfinite: this.#nonfinite, out }
    const result = await this.#counted(lane, () => lane.channel.request('order', request))
    if (result.refused) throw refusal(tensor, start, result.refused)
    return result
  }

  async measure(
    tensor: SummedTensor,
    start: number,
    count: number,
    measure: Measure,
  ): Promise<MeasureResult> {
    const { dtype } = tensor
    const places = await this.#places(tensor, start, count)
    const lane = this.#lane()
    return this.#counted(lane, () => lane.channel.request('measure', { dtype, count, places, measure }))
  }

  async combine(
    tensor: SummedTensor,
    start: number,
    count: number,
    rule: Rule,
    out: SharedArrayBuffer,
  ): Promise<OutResult> {
    const { dtype } = tensor
    const places = await this.#places(tensor, start, count)
    const lane = this.#lane()
    const request = { dtype, count, start, places, rule, nonfinite: this.#nonfinite, out }
    const result = await this.#counted(lane, () => lane.channel.request('combine', request))
    if (result.refused) throw refusal(tensor, start, result.refused)
    return result
  }

  /** The Gaussian of each element (range-swag.ts). */
  async swag(
    tensor: SummedTensor,
    start: number,
    count: number,
    rank: number,
    out: SharedArrayBuffer,
  ): Promise<OutResult> {
    const { dtype } = tensor
    const places = await this.#places(tensor, start, count)
    const lane = this.#lane()
    const request = { dtype, count, places, rank, out }
    const result = await this.#counted(lane, () => lane.channel.request('swag', request))
    if (result.refused) throw refusal(tensor, start, result.refused)
    return result
  }

  /** Ends the threads. */
  async close(): Promise<void> {
    for (const thread of this.#threads) await thread.close()
  }

  #places({ dtype, summands }: SummedTensor, start: number, count: number) {
    return Promise.all(summands.map(summand => placeOf(summand, dtype, start, count)))
  }

  #lane(): Lane {
    return this.#lanes.reduce((best, other) => (other.load < best.load ? other : best))
  }

  async #counted<T>(lane: Lane, ask: () => Promise<T>): Promise<T> {
    lane.load++
    try {
      return await ask()
    } finally {
      lane.load--
    }
  }
}

function joined(lists: readonly BigUint64Array[]): BigUint64Array {
  const all = new BigUint64Array(lists.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const list of lists) {
    all.set(list, at)
    at += list.length
  }
  return all
}
