/**
 * Elements of a block that have no place in a mean. An infinity that all members have at one place, as in masks, stays as
 * it is; every other one is refused, or, where that is allowed, what IEEE 754 makes of the sum.
 */

import type { Elements } from './elements.ts'
import { findUnsummable } from './kernels.ts'
import type { AveragedDType } from './rounding.ts'

export interface Unsummable {
  /** The member, by its position among the summands; -1: the result. */
  readonly summand: number
  readonly index: number
  readonly value: number
}

interface Special extends Unsummable {
  readonly count: number
}

export class Specials {
  readonly #found = new Map<number, Special>()
  #allowed = false
  #refused: Unsummable | null = null

  /** For another block; `nonfinite`: whether NaN and infinities are results. */
  reset(nonfinite: 'refuse' | 'allow'): void {
    this.#found.clear()
    this.#allowed = nonfinite === 'allow'
    this.#refused = null
  }

  /** The first element that is refused. */
  get refused(): Unsummable | null {
    return this.#refused
  }

  add(summand: number, index: number, value: number): void {
    const before = this.#found.get(index)
    const same = before === undefined || before.value === value
    // A finite number this large would make sums overflow.
    if (Number.isFinite(value) || (!this.#allowed && (Number.isNaN(value) || !same))) {
      this.refuse({ summand, index, value })
      return
    }
    const count = (before?.count ?? 0) + 1
    this.#found.set(index, { summand: before?.summand ?? summand, index, value: same ? value : NaN, count })
  }

  refuse({ summand, index, value }: Unsummable): void {
    this.#refused ??= { summand, index, value }
  }

  /** Refuses a result that its dtype has no number for. */
  refuseOverflow(dtype: AveragedDType, out: Elements): void {
    const index = findUnsummable(dtype, out)
    if (index >= 0 && !this.#found.has(index)) this.refuse({ summand: -1, index, value: Infinity })
  }

  /** What stands at those elements instead of means of `summands` members; refuses what not all of them have. */
  settle(summands: number): Iterable<Unsummable> {
    for (const special of this.#found.values()) {
      if (!this.#allowed && special.count < summands) this.refuse(special)
    }
    return this.#found.values()
  }
}
