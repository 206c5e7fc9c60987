/** Questions about who feeds whom. Sub-graphs use values of the graphs around them: those uses count. */

import { InputError } from '../util/errors.ts'
import type { Graph } from './graph.ts'
import type { Node } from './node.ts'
import type { Value } from './value.ts'

export interface Use {
  readonly node: Node
  readonly index: number
}

/** All nodes of a graph and of the sub-graphs inside it, outermost first. */
export function* walkNodes(graph: Graph): Iterable<Node> {
  for (const node of graph.nodes) {
    yield node
    for (const subgraph of node.subgraphs()) yield* walkNodes(subgraph)
  }
}

/** The graph and every sub-graph inside it. */
export function* walkGraphs(graph: Graph): Iterable<Graph> {
  yield graph
  for (const node of graph.nodes) for (const subgraph of node.subgraphs()) yield* walkGraphs(subgraph)
}

/** The uses of each value as a node input; graph outputs are not uses. */
export function usesOf(graph: Graph): Map<Value, Use[]> {
  const uses = new Map<Value, Use[]>()
  for (const node of walkNodes(graph)) {
    node.inputs.forEach((value, index) => {
      if (!value) return
      const list = uses.get(value)
      if (list) list.push({ node, index })
      else uses.set(value, [{ node, index }])
    })
  }
  return uses
}

/** Every value that a node reads, its sub-graphs' captured values included. */
export function readsOf(node: Node): Set<Value> {
  const reads = new Set<Value>()
  for (const input of node.inputs) if (input) reads.add(input)
  for (const subgraph of node.subgraphs()) for (const value of capturesOf(subgraph)) reads.add(value)
  return reads
}

/** The values of surrounding graphs that a sub-graph reads. */
export function capturesOf(graph: Graph): Set<Value> {
  const own = new Set<Value>([...graph.inputs, ...graph.initializers])
  const reads = new Set<Value>(graph.outputs)
  for (const node of graph.nodes) {
    for (const value of readsOf(node)) reads.add(value)
    for (const output of node.outputs) if (output) own.add(output)
  }
  for (const value of own) reads.delete(value)
  return reads
}

/**
 * Sorts nodes so that producers precede consumers: depth-first, in the given order, which is kept where it is valid.
 * An explicit stack, because graphs are deeper than the call stack.
 */
export function sortNodes(nodes: readonly Node[]): Node[] {
  const members = new Set(nodes)
  const state = new Map<Node, 'open' | 'done'>()
  const sorted: Node[] = []
  const stack: Node[] = []
  for (const root of nodes) {
    stack.push(root)
    while (stack.length > 0) {
      const node = stack[stack.length - 1]!
      if (state.get(node) === undefined) {
        state.set(node, 'open')
        for (const producer of producersOf(node)) {
          if (!members.has(producer) || state.get(producer) === 'done') continue
          if (state.get(producer) === 'open') throw new InputError(`graph: ${node.label} is part of a cycle`)
          stack.push(producer)
        }
      } else {
        stack.pop()
        if (state.get(node) === 'open') sorted.push(node)
        state.set(node, 'done')
      }
    }
  }
  return sorted
}

/** The nodes whose outputs a node reads, last input first: pushed on a stack, the first input's comes off first. */
function producersOf(node: Node): Node[] {
  const producers = [...readsOf(node)].flatMap(value => value.producer ?? [])
  return producers.reverse()
}
