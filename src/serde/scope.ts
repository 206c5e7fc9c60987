/** Names of a graph while it is read: inner graphs see those of the graphs around them. */

import { InputError } from '../util/errors.ts'
import type { Value } from '../ir/value.ts'

export class Scope {
  readonly #label: string
  readonly #parent: Scope | null
  readonly #values = new Map<string, Value>()
  /** Outputs of nodes that were not read yet. */
  readonly #pending = new Set<Value>()
  /** Whether something reads a value before the node that gives it: the nodes need sorting. */
  unordered = false

  /** `label` names the graph in messages. */
  constructor(label: string, parent: Scope | null) {
    this.#label = label
    this.#parent = parent
  }

  get label(): string {
    return this.#label
  }

  /** Adds a value; names are given once in a graph (single static assignment). */
  define(value: Value, what: string): Value {
    if (value.name === '') throw new InputError(`${this.#label}: ${what} has no name`)
    if (this.#values.has(value.name)) {
      throw new InputError(
        `${this.#label}: ${what} "${value.name}": another value of the graph has this name`,
      )
    }
    this.#values.set(value.name, value)
    return value
  }

  own(name: string): Value | undefined {
    return this.#values.get(name)
  }

  /** The value a name stands for: the graph's own, else that of the nearest graph around it. */
  resolve(name: string, what: string): Value {
    const value = this.#find(name)
    if (value) return value
    throw new InputError(`${this.#label}: ${what} is "${name}", which nothing produces`)
  }

  #find(name: string): Value | undefined {
    const value = this.#values.get(name)
    if (value === undefined) return this.#parent === null ? undefined : this.#parent.#find(name)
    if (this.#pending.has(value)) this.unordered = true
    return value
  }

  /** Announces outputs of nodes further on. */
  expect(values: Iterable<Value>): void {
    for (const value of values) this.#pending.add(value)
  }

  arrived(value: Value): void {
    this.#pending.delete(value)
  }
}
