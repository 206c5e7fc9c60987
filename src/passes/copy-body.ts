/** Puts copies of a body (of a local function, a Loop, a Scan) into a graph: weights once, nodes once for each copy. */

import type { Attribute } from '../ir/attribute.ts'
import { Graph } from '../ir/graph.ts'
import { Node } from '../ir/node.ts'
import { walkGraphs } from '../ir/topology.ts'
import { Value } from '../ir/value.ts'
import { cloneGraph } from './clone.ts'
import { isConstant } from './lift-constants.ts'
import { definitionsOf, type Names } from './names.ts'

export interface BodyCopy {
  readonly nodes: Node[]
  /** Null where an output is an input that the caller left out. */
  readonly outputs: readonly (Value | null)[]
}

/**
 * Copies one body any number of times into `graph`. Its initializers and Constant nodes move to `graph` at the first
 * copy, and all copies read the same ones: they are one weight, and one place in the file.
 */
export class BodyCopier {
  readonly #graph: Graph
  readonly #names: Names
  readonly #body: Graph
  readonly #shared = new Map<Value, Value>()

  constructor(graph: Graph, names: Names, body: Graph) {
    this.#graph = graph
    this.#names = names
    this.#body = body
  }

  /**
   * One copy. `inputs`: what takes the places of the body's inputs; null or missing where the caller has none.
   * `prefix` goes before the names of what is copied; `edit` may rewrite the nodes before they get their names.
   */
  copy(
    inputs: readonly (Value | null)[],
    prefix: string,
    edit: (copy: Graph) => void = () => undefined,
  ): BodyCopy {
    if (this.#shared.size === 0) this.#share(prefix)
    const absent = new Value('')
    const values = new Map(this.#shared)
    this.#body.inputs.forEach((input, i) => values.set(input, inputs[i] ?? absent))
    const rest = new Graph(this.#body.name)
    rest.nodes = this.#body.nodes.filter(node => !isShared(node))
    rest.outputs = this.#body.outputs
    const copy = cloneGraph(rest, values)
    const present = (value: Value | null) => (value === absent ? null : value)
    for (const inner of walkGraphs(copy)) {
      for (const node of inner.nodes) node.inputs = node.inputs.map(present)
    }
    edit(copy)
    for (const inner of walkGraphs(copy)) {
      for (const value of definitionsOf(inner)) value.name = this.#names.fresh(`${prefix}/${value.name}`)
      for (const node of inner.nodes) node.name = this.#names.fresh(`${prefix}/${node.name || node.opType}`)
    }
    this.#graph.initializers.push(...copy.initializers)
    return { nodes: copy.nodes, outputs: copy.outputs.map(present) }
  }

  #share(prefix: string): void {
    const name = (value: Value) => this.#names.fresh(`${prefix}/${value.name}`)
    for (const value of this.#body.initializers) {
      const copy = Value.constant(name(value), value.tensor!)
      this.#shared.set(value, copy)
      this.#graph.initializers.push(copy)
    }
    const constants = this.#body.nodes.filter(isShared).map(node => {
      const value = node.output(0)
      const copy = new Value(name(value), value.type)
      this.#shared.set(value, copy)
      return new Node('Constant', [], [copy], {
        name: this.#names.fresh(`${prefix}/${node.name || 'Constant'}`),
        attributes: new Map(node.attributes),
      })
    })
    this.#graph.nodes.unshift(...constants)
  }
}

/** A Constant node that gives every copy the same: its value does not come from an attribute of the call. */
function isShared(node: Node): boolean {
  return isConstant(node) && [...node.attributes.values()].every(isOwn)
}

const isOwn = ({ kind }: Attribute) => kind !== 'reference'

/**
 * Makes `targets` the values of a copy's outputs (null: nobody reads it): the node that makes an output makes the target
 * instead, or an Identity does where the output is not made by the copy, or serves another target already.
 */
export function bindCopied(
  { nodes, outputs }: BodyCopy,
  targets: readonly (Value | null)[],
  names: Names,
): Node[] {
  const bound = new Map<Value, Value>()
  return targets.flatMap((target, i) => {
    const source = outputs[i]
    if (!target || !source) return []
    const own = nodes.some(node => node.outputs.includes(source))
    if (own) bound.set(source, target)
    const from = own ? null : (bound.get(source) ?? source)
    if (own) replaceValue(nodes, source, target)
    return from
      ? [new Node('Identity', [from], [target], { name: names.fresh(`${target.name}/copied`) })]
      : []
  })
}

/** Every node that makes or reads `source` makes or reads `target`. */
function replaceValue(nodes: readonly Node[], source: Value, target: Value): void {
  const swap = (value: Value | null) => (value === source ? target : value)
  for (const node of nodes) {
    if (node.outputs.includes(source)) target.producer = node
    node.outputs = node.outputs.map(swap)
    for (const inner of [node, ...nodesInside(node)]) inner.inputs = inner.inputs.map(swap)
    for (const subgraph of node.subgraphs()) {
      for (const graph of walkGraphs(subgraph)) graph.outputs = graph.outputs.map(value => swap(value)!)
    }
  }
}

function nodesInside(node: Node): Node[] {
  return [...node.subgraphs()].flatMap(subgraph => [...walkGraphs(subgraph)].flatMap(graph => graph.nodes))
}
