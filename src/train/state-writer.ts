/** The state vectors of a training program: each of their tensors is an input and an output of the graph. */

import type { Builder } from '../ir/builder.ts'
import { Value } from '../ir/value.ts'
import type { StateVector } from '../runtime/program.ts'
import { invariant } from '../util/errors.ts'
import type { FlatLayout } from './flat.ts'

/**
 * State names: the parameters, the running statistics, the gradients added up so far and the moving average; optimizer
 * slots have the optimizer's names.
 */
export const THETA = 'theta'
export const STATISTICS = 'bn'
export const ACCUMULATED = 'accumulated'
export const EMA = 'ema'

interface Carried {
  readonly name: string
  readonly layout: FlatLayout
  readonly inputs: readonly Value[]
  readonly outputs: (Value | null)[]
}

export class StateWriter {
  readonly op: Builder
  readonly #vectors = new Map<string, Carried>()

  constructor(op: Builder) {
    this.op = op
  }

  /** Declares a vector; returns its tensors as they are before the step. */
  declare(name: string, layout: FlatLayout): readonly Value[] {
    const inputs = layout.segments.map(segment =>
      Value.typed(this.op.uniqueName(`${name}/${segment.name}`), 'float32', segment.shape),
    )
    this.#vectors.set(name, { name, layout, inputs, outputs: inputs.map(() => null) })
    return inputs
  }

  /** Says what tensor `index` of a vector is after the step. */
  next(name: string, index: number, value: Value): void {
    const carried = this.#vectors.get(name)
    invariant(carried, `state ${name} was not declared`)
    value.name = this.op.uniqueName(`${name}/${carried.layout.segments[index]!.name}/next`)
    carried.outputs[index] = value
  }

  /** Of each vector. */
  get layouts(): Map<string, FlatLayout> {
    return new Map([...this.#vectors.values()].map(({ name, layout }) => [name, layout]))
  }

  get inputs(): Value[] {
    return [...this.#vectors.values()].flatMap(({ inputs }) => inputs)
  }

  get outputs(): Value[] {
    return [...this.#vectors.values()].flatMap(({ name, outputs }) =>
      outputs.map((output, i) => {
        invariant(output, `tensor ${i} of state ${name} has no next value`)
        return output
      }),
    )
  }

  get vectors(): StateVector[] {
    return [...this.#vectors.values()].map(({ name, layout, inputs, outputs }) => ({
      name,
      length: layout.length,
      parts: layout.segments.map(({ offset, shape }, i) => {
        return { input: inputs[i]!.name, output: outputs[i]!.name, offset, shape }
      }),
    }))
  }
}
