/** Small models written as lists of nodes: `model({ x: [2, 3] }, [['Relu', ['x'], ['y']]], ['y'])`. */

import { float, int, ints, text, type Attribute } from '../../../src/ir/attribute.ts'
import { Graph, Model } from '../../../src/ir/graph.ts'
import { Node } from '../../../src/ir/node.ts'
import { Value, type Dim } from '../../../src/ir/value.ts'
import type { DType } from '../../../src/tensor/dtype.ts'
import { sizeOf, type Shape } from '../../../src/tensor/shape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { Random } from '../../../src/util/random.ts'

type Attributes = Readonly<Record<string, number | string | readonly number[] | Attribute>>

/** Operator, inputs ('' is absent), outputs, attributes. */
export type NodeRow = readonly [string, readonly string[], readonly string[], Attributes?]

export interface Parts {
  /** Fed inputs; float32 unless a dtype leads the dims. */
  readonly inputs: Readonly<Record<string, readonly (Dim | { dtype: DType })[]>>
  readonly weights?: Readonly<Record<string, Tensor>>
  readonly nodes: readonly NodeRow[]
  readonly outputs: readonly string[]
  readonly opset?: number
  readonly irVersion?: number
}

/** Builds a model; node names are `<operator>_<position>`. */
export function buildModel({
  inputs,
  weights = {},
  nodes,
  outputs,
  opset = 18,
  irVersion = 8,
}: Parts): Model {
  const graph = buildGraph('test', { inputs, weights, nodes, outputs })
  return new Model(graph, irVersion, new Map([['', opset]]))
}

/** Builds a graph; `outer` gives the values of surrounding graphs. */
export function buildGraph(name: string, parts: Parts, outer: readonly Value[] = []): Graph {
  const values = new Map(outer.map(value => [value.name, value]))
  const graph = new Graph(name)
  for (const [input, spec] of Object.entries(parts.inputs)) {
    const typed = spec.find(item => typeof item === 'object' && item !== null)
    const dims = spec.filter(item => typeof item !== 'object' || item === null)
    const value = Value.typed(input, typed?.dtype ?? 'float32', dims)
    graph.inputs.push(value)
    values.set(input, value)
  }
  for (const [weight, tensor] of Object.entries(parts.weights ?? {})) {
    const value = Value.constant(weight, tensor)
    graph.initializers.push(value)
    values.set(weight, value)
  }
  const named = (key: string) => {
    const value = values.get(key) ?? new Value(key)
    values.set(key, value)
    return value
  }
  graph.nodes = parts.nodes.map(([opType, reads, writes, attributes = {}], position) => {
    const of = (keys: readonly string[]) => keys.map(key => (key === '' ? null : named(key)))
    return new Node(opType, of(reads), of(writes), {
      name: `${opType}_${position}`,
      attributes: new Map(Object.entries(attributes).map(([key, value]) => [key, attribute(value)])),
    })
  })
  graph.outputs = parts.outputs.map(named)
  return graph
}

function attribute(value: Attributes[string]): Attribute {
  if (typeof value === 'number') return int(value)
  if (typeof value === 'string') return text(value)
  return 'kind' in value ? value : ints(value)
}

export const f = float

/** A float32 tensor of given numbers. */
export function floats(dims: Shape, values: readonly number[]): Tensor {
  return Tensor.of('float32', dims, values)
}

export function int64s(...values: readonly number[]): Tensor {
  return Tensor.of('int64', [values.length], values.map(BigInt))
}

/** Normal numbers from a seed. */
export function randoms(dims: Shape, seed = 1): Tensor {
  const random = Random.of(seed)
  return floats(
    dims,
    Array.from({ length: sizeOf(dims) }, () => random.normal()),
  )
}

/** A tensor attribute, as `Constant` has. */
export function tensorAttribute(tensor: Tensor): Attribute {
  return { kind: 'tensor', value: tensor }
}
