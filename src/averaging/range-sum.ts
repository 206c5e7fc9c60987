/**
 * The work of one request on a range of a tensor: reads what each member has there, hashes it, adds it up, and gives means
 * or sums. It runs in threads or in the caller's (summer.ts).
 */

import { BLOCK_BYTES, BlockMemory, GROUP, isGroupDType } from './block-memory.ts'
import { encodeElement, viewOf, widthOf } from './elements.ts'
import { hashPieces, PIECE } from './piece-hash.ts'
import { take, type Place } from './place.ts'
import { Specials, type Unsummable } from './specials.ts'
import { BLOCK, SumBlock, type Tail } from './sum-block.ts'
import type { AveragedDType } from './rounding.ts'

export type RangeSummand =
  | { readonly kind: 'elements'; readonly weight: number; readonly place: Place }
  /** Pairs of float64; the indices of the tail count from the start of the range. */
  | { readonly kind: 'sums'; readonly place: Place; readonly tail: Tail }

/** What is wanted of the sums; `total`: the weights of all members together. */
export type Finish =
  | {
      readonly kind: 'mean'
      readonly total: number
      /** Whether means may lie beyond all members, where the dtype may have no number. */
      readonly beyond: boolean
      readonly out: SharedArrayBuffer
    }
  | { readonly kind: 'pairs'; readonly out: SharedArrayBuffer }
  | { readonly kind: 'tail' }

/** A range, all in one request; or one block, in several requests with some of the members each. */
export interface RangeRequest {
  readonly dtype: AveragedDType
  /** Elements. */
  readonly count: number
  readonly summands: readonly RangeSummand[]
  /** Whether elements are to be hashed. */
  readonly hash: boolean
  /** Whether these are the first members, and what is wanted after the last ones. */
  readonly first: boolean
  readonly finish: Finish | null
  readonly nonfinite: 'refuse' | 'allow'
}

export interface RangeResult {
  /** The buffer that was sent, with means or pairs. */
  readonly out: SharedArrayBuffer | null
  /** XXH64 of the pieces of the first summand of elements in the request, of the second one, and so on. */
  readonly hashes: BigUint64Array
  readonly tail: Tail
  /** An element that has no place in a mean; `index` is that in the range. */
  readonly refused: Unsummable | null
}

const PAIR_BYTES = 16

/** Pieces of elements that are hashed. */
function piecesOf(dtype: AveragedDType, count: number): number {
  return Math.ceil((count * widthOf(dtype)) / PIECE)
}

/** Elements of a block. */
export function blockOf(dtype: AveragedDType): number {
  return Math.min(BLOCK, BLOCK_BYTES / widthOf(dtype))
}

export class RangeSum {
  readonly #memory: BlockMemory | null
  readonly #plain: Uint8Array | null
  readonly #specials = new Specials()
  readonly #block: SumBlock
  #pairs: Uint8Array | null = null
  /** Members of the block before the request, and before the group. */
  #before = 0
  #group = 0

  /** `memory`: null for the plain kernels. */
  constructor(memory: BlockMemory | null = BlockMemory.create()) {
    this.#memory = memory
    this.#plain = memory ? null : new Uint8Array(BLOCK_BYTES)
    this.#block = new SumBlock(BLOCK, this.#memory, (index, value, member) =>
      this.#specials.add(this.#group + member, index, value),
    )
  }

  run(request: RangeRequest): RangeResult {
    const { dtype, count, summands, finish, hash, first, nonfinite } = request
    const size = blockOf(dtype)
    const hashed = hash ? summands.filter(({ kind }) => kind === 'elements').length : 0
    const hashes = new BigUint64Array(hashed * piecesOf(dtype, count))
    const out = finish && 'out' in finish ? finish.out : null
    const tail: { indices: number[]; values: number[] } = { indices: [], values: [] }
    const result = { out, hashes, tail }
    for (let start = 0; start < count; start += size) {
      const length = Math.min(size, count - start)
      if (first) {
        this.#before = 0
        this.#block.reset(length)
        this.#specials.reset(nonfinite)
      }
      this.#add(request, start, hashes)
      this.#before += summands.length
      if (finish) this.#finish(dtype, finish, start, tail)
      const { refused } = this.#specials
      if (refused) return { ...result, refused: { ...refused, index: start + refused.index } }
    }
    return { ...result, refused: null }
  }

  /** Adds what the members have in the block. */
  #add({ dtype, count, summands, hash }: RangeRequest, start: number, hashes: BigUint64Array): void {
    const { size } = this.#block
    const width = widthOf(dtype)
    const grouped = this.#memory !== null && isGroupDType(dtype)
    const weights: number[] = []
    const addGroup = () => {
      if (weights.length > 0 && isGroupDType(dtype)) this.#block.addGroup(dtype, weights)
      weights.length = 0
    }
    let elements = 0
    for (const [s, summand] of summands.entries()) {
      if (weights.length === 0) this.#group = this.#before + s
      if (summand.kind === 'sums') {
        addGroup()
        this.#group = this.#before + s
        this.#addSums(summand, start)
        continue
      }
      const slot = weights.length
      const bytes = (this.#memory?.members[slot] ?? this.#plain!).subarray(0, size * width)
      take(summand.place, start * width, bytes)
      if (hash) {
        const piece = elements++ * piecesOf(dtype, count) + (start * width) / PIECE
        hashPieces(this.#memory, slot, bytes, hashes, piece)
      }
      if (grouped) {
        weights.push(summand.weight)
        if (weights.length === GROUP) addGroup()
      } else if (this.#memory && dtype === 'float64') this.#block.addFloat64(summand.weight)
      else this.#block.add(dtype, viewOf(dtype, bytes), summand.weight)
    }
    addGroup()
  }

  #addSums({ place, tail }: RangeSummand & { readonly kind: 'sums' }, start: number): void {
    const { size } = this.#block
    this.#pairs ??= new Uint8Array(BLOCK * PAIR_BYTES)
    const bytes = this.#pairs.subarray(0, size * PAIR_BYTES)
    take(place, start * PAIR_BYTES, bytes)
    this.#block.addPairs(viewOf('float64', bytes) as Float64Array)
    const { indices, values } = tail
    for (let k = lowerBound(indices, start); k < indices.length && indices[k]! < start + size; k++) {
      this.#block.addAt(indices[k]! - start, values[k]!)
    }
  }

  #finish(
    dtype: AveragedDType,
    finish: Finish,
    start: number,
    tail: { indices: number[]; values: number[] },
  ): void {
    const { size } = this.#block
    const specials = [...this.#specials.settle(this.#before)]
    if (finish.kind === 'mean') {
      const width = widthOf(dtype)
      const out = viewOf(dtype, new Uint8Array(finish.out, start * width, size * width))
      this.#block.mean(dtype, finish.total, out)
      if (finish.beyond) this.#specials.refuseOverflow(dtype, out)
      for (const { index, value } of specials) out[index] = encodeElement(dtype, value)
      return
    }
    // Sums are finite: they can be taken apart again.
    for (const { summand, index, value } of specials) this.#specials.refuse({ summand, index, value })
    if (finish.kind === 'pairs') this.#block.pairs(new Float64Array(finish.out, start * PAIR_BYTES, size * 2))
    const { indices, values } = this.#block.tail()
    for (const index of indices) tail.indices.push(start + index)
    for (const value of values) tail.values.push(value)
  }
}

/** The position of the first index that is not below `index`. */
export function lowerBound(indices: readonly number[], index: number): number {
  let low = 0
  let high = indices.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (indices[middle]! < index) low = middle + 1
    else high = middle
  }
  return low
}
