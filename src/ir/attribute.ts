/** Attributes of nodes: a tagged value for each AttributeProto type. Integers are int64, hence bigint. */

import type { Tensor } from '../tensor/tensor.ts'
import type { Graph } from './graph.ts'

export interface AttributeValues {
  float: number
  int: bigint
  string: Uint8Array
  tensor: Tensor
  graph: Graph
  floats: readonly number[]
  ints: readonly bigint[]
  strings: readonly Uint8Array[]
  tensors: readonly Tensor[]
  graphs: readonly Graph[]
  /** Inside a function body: the attribute of the calling node that gives the value, and its AttributeProto type. */
  reference: { readonly name: string; readonly type: number }
  /** Sparse tensors and type protos: carried for the serializer. */
  opaque: unknown
}

export type AttributeKind = keyof AttributeValues

export type Attribute = {
  [K in AttributeKind]: {
    readonly kind: K
    readonly value: AttributeValues[K]
    /** What the file said about this attribute and the IR does not model; opaque, for the serializer. */
    readonly extra?: unknown
  }
}[AttributeKind]

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** A float attribute, also for whole numbers. */
export function float(value: number): Attribute {
  return { kind: 'float', value }
}

export function text(value: string): Attribute {
  return { kind: 'string', value: encoder.encode(value) }
}

export function decodeText(bytes: Uint8Array): string {
  return decoder.decode(bytes)
}

export function texts(values: readonly string[]): Attribute {
  return { kind: 'strings', value: values.map(value => encoder.encode(value)) }
}

export function floats(values: readonly number[]): Attribute {
  return { kind: 'floats', value: values }
}

export function int(value: number): Attribute {
  return { kind: 'int', value: BigInt(value) }
}

export function ints(values: readonly number[]): Attribute {
  return { kind: 'ints', value: values.map(BigInt) }
}
