/** A value of the graph as the tape holds it: one tensor, or several with its axes in different orders. */

import type { DType } from '../../tensor/dtype.ts'
import type { Shape } from '../../tensor/shape.ts'
import { invariant } from '../../util/errors.ts'
import { fromMemory, type Layout } from './layout.ts'
import type { Slot, Tape } from './tape.ts'

export class Held {
  /** The value's ONNX element type; tfjs may compute in a wider one. */
  readonly dtype: DType
  /** The value's shape, axes in ONNX's order. */
  readonly shape: Shape
  /** The layout in which it was made. */
  readonly home: Layout
  readonly #forms = new Map<string, { readonly layout: Layout; readonly slot: Slot }>()

  constructor(slot: Slot, layout: Layout, dtype: DType) {
    invariant(
      slot.shape.length === layout.length,
      `a slot [${slot.shape.join()}] in layout [${layout.join()}]`,
    )
    this.dtype = dtype
    this.shape = fromMemory(slot.shape, layout)
    this.home = layout
    this.add(slot, layout)
  }

  get rank(): number {
    return this.shape.length
  }

  get size(): number {
    return this.shape.reduce((product, dim) => product * dim, 1)
  }

  /** The form as it was made. */
  get slot(): Slot {
    return this.in(this.home)!
  }

  get constant(): boolean {
    return this.slot.constant
  }

  /** The form in a layout, if there is one already. */
  in(layout: Layout): Slot | undefined {
    return this.#forms.get(layout.join())?.slot
  }

  add(slot: Slot, layout: Layout): void {
    this.#forms.set(layout.join(), { layout, slot })
  }

  /** The same elements under another value: it is read and freed on its own. */
  alias(dtype: DType = this.dtype): Held {
    const copy = new Held(this.slot, this.home, dtype)
    for (const { slot, layout } of this.forms()) copy.add(slot, layout)
    return copy
  }

  forms(): Iterable<{ readonly layout: Layout; readonly slot: Slot }> {
    return this.#forms.values()
  }
}

/** Counts, while a graph is recorded, how many values hold each slot, and frees those that none holds any more. */
export class Holders {
  readonly #tape: Tape
  readonly #counts = new Map<Slot, number>()
  readonly #holds = new Map<Held, Set<Slot>>()

  constructor(tape: Tape) {
    this.#tape = tape
  }

  /** The forms of a value, as they are now, stay until `drop`. */
  hold(value: Held): void {
    const held = this.#holds.get(value) ?? new Set<Slot>()
    this.#holds.set(value, held)
    for (const { slot } of value.forms()) {
      if (held.has(slot)) continue
      held.add(slot)
      this.#counts.set(slot, (this.#counts.get(slot) ?? 0) + 1)
    }
  }

  /** Nobody reads the value any more. */
  drop(value: Held): void {
    for (const slot of this.#holds.get(value) ?? []) {
      const count = this.#counts.get(slot)! - 1
      this.#counts.set(slot, count)
      if (count === 0) this.#tape.release(slot)
    }
    this.#holds.delete(value)
  }

  /** Frees what was made since the last call and no value holds. */
  sweep(): void {
    for (const slot of this.#tape.takeMade()) if (!this.#counts.get(slot)) this.#tape.release(slot)
  }
}
