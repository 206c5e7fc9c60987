/** Nodes: one application of an operator. */

import { InputError } from '../util/errors.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { decodeText, type Attribute, type AttributeKind, type AttributeValues } from './attribute.ts'
import type { Graph } from './graph.ts'
import type { Value } from './value.ts'

/** The default domain; `ai.onnx` in a file is normalised to it. */
export const ONNX_DOMAIN = ''

export interface NodeOptions {
  domain?: string
  name?: string
  /** Tells local functions of the same domain and name apart. */
  overload?: string
  attributes?: Map<string, Attribute>
}

export class Node {
  readonly opType: string
  readonly domain: string
  readonly overload: string
  name: string
  /** Absent optional inputs are null. */
  inputs: (Value | null)[]
  /** Absent optional outputs are null. */
  outputs: (Value | null)[]
  readonly attributes: Map<string, Attribute>
  /** What the file said about this node and the IR does not model; opaque, for the serializer. */
  extra: unknown = undefined

  constructor(
    opType: string,
    inputs: readonly (Value | null)[],
    outputs: readonly (Value | null)[],
    options: NodeOptions = {},
  ) {
    this.opType = opType
    this.domain = options.domain ?? ONNX_DOMAIN
    this.overload = options.overload ?? ''
    this.name = options.name ?? ''
    this.inputs = [...inputs]
    this.outputs = [...outputs]
    this.attributes = options.attributes ?? new Map<string, Attribute>()
    for (const output of outputs) if (output) output.producer = this
  }

  /** The operator as tables name it: `Relu`, `com.microsoft.Gelu`. */
  get key(): string {
    return this.domain === ONNX_DOMAIN ? this.opType : `${this.domain}.${this.opType}`
  }

  /** `Conv "stem/conv"`, or the first output's name where the node has none: the form used in messages. */
  get label(): string {
    const name = this.name || this.outputs.find(output => output)?.name || '?'
    return `${this.key} "${name}"`
  }

  /** Input `index`, which the operator requires. */
  input(index: number): Value {
    const value = this.inputs[index]
    if (!value) throw new InputError(`${this.label}: input ${index} is missing`)
    return value
  }

  /** Output `index`, which the operator always has. */
  output(index: number): Value {
    const value = this.outputs[index]
    if (!value) throw new InputError(`${this.label}: output ${index} is missing`)
    return value
  }

  /** An int attribute, or the operator's default. */
  int(name: string, fallback: number): number {
    const value = this.#read(name, 'int')
    return value === undefined ? fallback : Number(value)
  }

  float(name: string, fallback: number): number {
    return this.#read(name, 'float') ?? fallback
  }

  string(name: string, fallback: string): string {
    const value = this.#read(name, 'string')
    return value === undefined ? fallback : decodeText(value)
  }

  /** An ints attribute, or the default; `undefined` as default tells absence. */
  ints<T extends readonly number[] | undefined>(name: string, fallback: T): readonly number[] | T {
    const value = this.#read(name, 'ints')
    return value === undefined ? fallback : value.map(Number)
  }

  /** An ints attribute as it is; numbers do not hold the largest ones, which mean "to the end" in a Slice. */
  int64s(name: string): readonly bigint[] | undefined {
    return this.#read(name, 'ints')
  }

  floats(name: string): readonly number[] | undefined {
    return this.#read(name, 'floats')
  }

  tensor(name: string): Tensor | undefined {
    return this.#read(name, 'tensor')
  }

  /** The sub-graphs held by attributes (bodies of If, Loop, Scan). */
  *subgraphs(): Iterable<Graph> {
    for (const attribute of this.attributes.values()) {
      if (attribute.kind === 'graph') yield attribute.value
      if (attribute.kind === 'graphs') yield* attribute.value
    }
  }

  #read<K extends AttributeKind>(name: string, kind: K): AttributeValues[K] | undefined {
    const attribute = this.attributes.get(name)
    if (attribute === undefined) return undefined
    if (attribute.kind !== kind) {
      throw new InputError(
        `${this.label}: attribute ${name} should be of type ${kind}, found ${attribute.kind}`,
      )
    }
    return attribute.value as AttributeValues[K]
  }
}
