/** What a kernel writer sees of a node and gives back. */

import type { Node } from '../../ir/node.ts'
import type { DType } from '../../tensor/dtype.ts'
import { normalizeAxis } from '../../tensor/shape.ts'
import { InputError, UnsupportedError } from '../../util/errors.ts'
import type { Held } from './held.ts'
import type { Kernels } from './kernels.ts'
import type { Layout } from './layout.ts'
import type { Slot } from './tape.ts'

export class WriterContext {
  readonly k: Kernels
  readonly node: Node
  readonly inputs: readonly (Held | null)[]
  readonly #elements: ReadonlyMap<number, readonly number[]>
  readonly #reads: (output: number) => boolean

  constructor(parts: {
    k: Kernels
    node: Node
    inputs: readonly (Held | null)[]
    elements: ReadonlyMap<number, readonly number[]>
    reads: (output: number) => boolean
  }) {
    this.k = parts.k
    this.node = parts.node
    this.inputs = parts.inputs
    this.#elements = parts.elements
    this.#reads = parts.reads
  }

  /** Input `index`, which the operator requires. */
  input(index: number): Held {
    const value = this.inputs[index]
    if (value) return value
    throw new InputError(`${this.node.label}: input ${index} is missing`)
  }

  /** Input `index` in ONNX's order of axes. */
  slot(index: number): Slot {
    return this.k.onnx(this.input(index))
  }

  /** The elements of an input that its row names in `elements`; null where it is absent or depends on the data. */
  known(index: number): readonly number[] | null {
    return this.#elements.get(index) ?? null
  }

  /** The same, where the node cannot be written without them. Null only where the input is absent. */
  needed(index: number): readonly number[] | null {
    const found = this.known(index)
    if (found || !this.inputs[index]) return found
    throw new UnsupportedError(
      `${this.node.label}: input ${index} (${this.node.input(index).name}) depends on the data; tfjs must know it beforehand`,
      { cure: 'use --engine cpu' },
    )
  }

  /** Whether somebody reads output `index`. */
  reads(index: number): boolean {
    return this.#reads(index)
  }

  /** An axis attribute, not negative. */
  axis(fallback: number, rank: number): number {
    return normalizeAxis(this.node.int('axis', fallback), rank, this.node.label)
  }

  /** A result; its element type is that of input 0 unless stated, its layout ONNX's. */
  give(slot: Slot, options: { dtype?: DType; layout?: Layout } = {}): Held {
    return this.k.hold(slot, options.dtype ?? this.input(0).dtype, options.layout)
  }
}

/** Writes the kernel calls of one node; one value stands for output 0. */
export type Writer = (context: WriterContext) => Held | readonly (Held | null)[]

export interface WriterRow {
  readonly write: Writer
  /** Inputs whose elements are looked at when the graph is recorded (shapes, axes, bounds), where they are constant. */
  readonly elements: readonly number[]
}

export type WriterTable = Readonly<Record<string, WriterRow>>

export function writer(write: Writer, ...elements: number[]): WriterRow {
  return { write, elements }
}
