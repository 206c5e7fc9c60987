/** Medians and trimmed means of a range: in each place the numbers of all members are sorted, and some of them averaged. */

import { BlockMemory } from './block-memory.ts'
import { encodeElement, viewOf, widen, widthOf, type Elements } from './elements.ts'
import { MAX_FLOAT64 } from './kernels.ts'
import { take, type Place } from './place.ts'
import { Specials, type Unsummable } from './specials.ts'
import { BLOCK, SumBlock } from './sum-block.ts'
import type { AveragedDType } from './rounding.ts'

export interface OrderRequest {
  readonly dtype: AveragedDType
  /** Elements. */
  readonly count: number
  /** One for each member. */
  readonly places: readonly Place[]
  /** So many of the smallest and of the largest numbers are left out. */
  readonly trim: number
  readonly nonfinite: 'refuse' | 'allow'
  /** Receives the means. */
  readonly out: SharedArrayBuffer
}

export interface OutResult {
  readonly out: SharedArrayBuffer
  /** An element that has no place in the result; `index` is that in the range. */
  readonly refused: Unsummable | null
}

/** What members have in a block, sorted. */
interface Sorter {
  /** Elements of a block. */
  readonly size: number
  readonly block: SumBlock
  /** Where the numbers of a member are to be put. */
  slot(member: number): Float32Array | Float64Array
  /** Sorts the first `count` places of all slots. */
  sort(count: number): void
  /** Adds the numbers of the slots from `first` to `end` up. */
  add(first: number, end: number): void
}

export class RangeOrder {
  readonly #specials = new Specials()
  #sorter: { readonly members: number; readonly wide: boolean; readonly sorter: Sorter } | null = null

  run({ dtype, count, places, trim, nonfinite, out }: OrderRequest): OutResult {
    const wide = dtype === 'float64'
    const sorter = this.#sorterFor(places.length, wide)
    const { size, block } = sorter
    const width = widthOf(dtype)
    const kept = places.length - 2 * trim
    const narrow = new Uint8Array(size * width)
    for (let start = 0; start < count; start += size) {
      const length = Math.min(size, count - start)
      this.#specials.reset(nonfinite)
      block.reset(length)
      for (const [m, place] of places.entries()) {
        const bytes = narrow.subarray(0, length * width)
        take(place, start * width, bytes)
        const slot = sorter.slot(m).subarray(0, length)
        fill(slot, viewOf(dtype, bytes), dtype)
        this.#look(m, slot)
      }
      const specials = [...this.#specials.settle(places.length)]
      sorter.sort(length)
      sorter.add(trim, places.length - trim)
      const means = viewOf(dtype, new Uint8Array(out, start * width, length * width))
      block.mean(dtype, kept, means)
      for (const { index } of specials) {
        let sum = 0
        for (let k = trim; k < places.length - trim; k++) sum += sorter.slot(k)[index]!
        means[index] = encodeElement(dtype, sum / kept)
      }
      const { refused } = this.#specials
      if (refused) return { out, refused: { ...refused, index: start + refused.index } }
    }
    return { out, refused: null }
  }

  /** Notes what is not finite. */
  #look(member: number, x: Float32Array | Float64Array): void {
    for (let i = 0; i < x.length; i++) {
      if (!(Math.abs(x[i]!) < MAX_FLOAT64)) this.#specials.add(member, i, x[i]!)
    }
  }

  #sorterFor(members: number, wide: boolean): Sorter {
    if (this.#sorter?.members !== members || this.#sorter.wide !== wide) {
      const memory = BlockMemory.forAll(members)
      const sorter = memory ? new VectorSorter(memory, wide) : new PlainSorter(members)
      this.#sorter = { members, wide, sorter }
    }
    return this.#sorter.sorter
  }
}

function fill(slot: Float32Array | Float64Array, x: Elements, dtype: AveragedDType): void {
  if (x instanceof Float32Array || x instanceof Float64Array) slot.set(x)
  else if (slot instanceof Float32Array) widen(dtype, x, slot)
  else {
    const wider = new Float32Array(x.length)
    widen(dtype, x, wider)
    slot.set(wider)
  }
}

class VectorSorter implements Sorter {
  readonly size: number
  readonly block: SumBlock
  readonly #memory: BlockMemory
  readonly #slots: readonly (Float32Array | Float64Array)[]
  readonly #dtype: 'float32' | 'float64'

  constructor(memory: BlockMemory, wide: boolean) {
    this.#memory = memory
    this.#dtype = wide ? 'float64' : 'float32'
    this.#slots = memory.members.map(bytes => viewOf(this.#dtype, bytes) as Float32Array | Float64Array)
    this.size = this.#slots[0]!.length
    // What has no place in a sum is seen to by the caller.
    this.block = new SumBlock(Math.min(BLOCK, this.size), memory, () => undefined)
  }

  slot(member: number) {
    return this.#slots[member]!
  }

  sort(count: number): void {
    this.#memory.sort(this.#dtype, count)
  }

  add(first: number, end: number): void {
    if (this.#dtype === 'float32') this.block.addGroup('float32', Array<number>(end - first).fill(1), first)
    else for (let k = first; k < end; k++) this.block.addFloat64(1, k)
  }
}

/** Elements of a block without vectors. */
const PLAIN_SIZE = 1024

class PlainSorter implements Sorter {
  readonly size = PLAIN_SIZE
  readonly block = new SumBlock(PLAIN_SIZE, null, () => undefined)
  readonly #slots: readonly Float64Array[]

  constructor(members: number) {
    this.#slots = Array.from({ length: members }, () => new Float64Array(PLAIN_SIZE))
  }

  slot(member: number) {
    return this.#slots[member]!
  }

  sort(count: number): void {
    const column = new Float64Array(this.#slots.length)
    for (let i = 0; i < count; i++) {
      this.#slots.forEach((slot, k) => (column[k] = slot[i]!))
      column.sort()
      this.#slots.forEach((slot, k) => (slot[i] = column[k]!))
    }
  }

  add(first: number, end: number): void {
    const { size } = this.block
    for (let k = first; k < end; k++) this.block.add('float64', this.#slots[k]!.subarray(0, size), 1)
  }
}
