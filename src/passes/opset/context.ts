/** What a raise may ask and do while it rewrites one node. */

import { UnsupportedError } from '../../util/errors.ts'
import type { DType } from '../../tensor/dtype.ts'
import { Tensor } from '../../tensor/tensor.ts'
import type { Attribute } from '../../ir/attribute.ts'
import type { Graph } from '../../ir/graph.ts'
import { Node } from '../../ir/node.ts'
import { Value } from '../../ir/value.ts'
import type { Names } from '../names.ts'
import type { Facts } from './facts.ts'

export interface RaiseOptions {
  /** Ranks that the caller knows, for instance by observation. */
  readonly rankOf?: (value: Value) => number | undefined
}

/** What is the same for all graphs of a model. */
export interface RaiseScope extends RaiseOptions {
  readonly from: number
  readonly to: number
  readonly names: Names
  readonly facts: Facts
  /** The values that a node or a graph output reads. */
  readonly read: ReadonlySet<Value>
}

export class RaiseContext {
  readonly from: number
  readonly to: number
  readonly #scope: RaiseScope
  /** The graph that holds the nodes: new initializers go there. */
  readonly #graph: Graph

  constructor(scope: RaiseScope, graph: Graph) {
    this.from = scope.from
    this.to = scope.to
    this.#scope = scope
    this.#graph = graph
  }

  /** An initializer of the node's graph, named after the node. */
  constant(node: Node, role: string, tensor: Tensor): Value {
    const base = node.name || (node.outputs.find(output => output)?.name ?? node.opType)
    const value = Value.constant(this.#scope.names.fresh(`${base}/${role}`), tensor)
    this.#graph.initializers.push(value)
    return value
  }

  int64s(node: Node, role: string, values: readonly (number | bigint)[]): Value {
    return this.constant(node, role, Tensor.of('int64', [values.length], values.map(BigInt)))
  }

  scalar(node: Node, role: string, dtype: DType, value: number): Value {
    return this.constant(node, role, Tensor.scalar(dtype, value))
  }

  /** A new value for a node that is put beside `node`. */
  value(node: Node, role: string): Value {
    const base = node.name || (node.outputs.find(output => output)?.name ?? node.opType)
    return new Value(this.#scope.names.fresh(`${base}/${role}`))
  }

  /** A node of another operator in the place of `node`: its name, and its outputs unless others are given. */
  replacement(
    node: Node,
    opType: string,
    inputs: readonly (Value | null)[],
    attributes: Readonly<Record<string, Attribute>>,
    outputs: readonly (Value | null)[] = node.outputs,
  ): Node {
    const made = new Node(opType, inputs, outputs, {
      name: node.name,
      attributes: new Map(Object.entries(attributes)),
    })
    made.extra = node.extra
    return made
  }

  isRead(value: Value | null | undefined): boolean {
    return value ? this.#scope.read.has(value) : false
  }

  rankOf(value: Value): number | undefined {
    return this.#scope.rankOf?.(value) ?? this.#scope.facts.rank(value)
  }

  /** float32 where nothing tells: half-precision models declare their types. */
  dtypeOf(value: Value): DType {
    return this.#scope.facts.dtype(value) ?? 'float32'
  }

  unsupported(node: Node, why: string): UnsupportedError {
    return new UnsupportedError(
      `${node.label}: cannot be raised from opset ${this.from} to ${this.to}: ${why}`,
    )
  }
}
