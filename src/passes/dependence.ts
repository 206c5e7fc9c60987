/** Which values change between runs: those that follow from fed inputs, from given values or from a random generator. */

import type { Graph } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { readsOf, walkNodes } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'

/** Operators that look at the shape of their input only: shapes are static, so their outputs never change. */
export const SHAPE_READERS: ReadonlySet<string> = new Set(['Shape', 'Size'])

/** Random numbers, and Dropout, which a training program turns on. */
const RANDOM: ReadonlySet<string> = new Set([
  'RandomNormal',
  'RandomNormalLike',
  'RandomUniform',
  'RandomUniformLike',
  'Bernoulli',
  'Multinomial',
  'Dropout',
])

/** Makers of sequences and optionals, which cannot be initializers. */
const NOT_TENSORS: ReadonlySet<string> = new Set([
  'SequenceConstruct',
  'SequenceEmpty',
  'SequenceInsert',
  'SequenceErase',
  'SequenceMap',
  'SplitToSequence',
  'ConcatFromSequence',
  'Optional',
])

/**
 * The values of the main graph, and of its sub-graphs, that change from run to run. `variable`: values to count as
 * changing besides the fed inputs, such as the parameters of a training program.
 */
export function variableValues(graph: Graph, variable: Iterable<Value> = []): Set<Value> {
  const changing = new Set<Value>(variable)
  for (const input of graph.feeds) changing.add(input)
  markChanging(graph, changing)
  return changing
}

function markChanging(graph: Graph, changing: Set<Value>): void {
  for (const node of graph.nodes) {
    for (const subgraph of node.subgraphs()) {
      for (const input of subgraph.inputs) changing.add(input)
      markChanging(subgraph, changing)
    }
    if (!isChanging(node, changing)) continue
    for (const output of node.outputs) if (output) changing.add(output)
  }
}

function isChanging(node: Node, changing: ReadonlySet<Value>): boolean {
  if (node.domain === ONNX_DOMAIN) {
    if (SHAPE_READERS.has(node.opType)) return false
    if (RANDOM.has(node.opType) || NOT_TENSORS.has(node.opType)) return true
  }
  for (const subgraph of node.subgraphs()) {
    for (const inner of walkNodes(subgraph)) if (RANDOM.has(inner.opType)) return true
  }
  for (const value of readsOf(node)) if (changing.has(value)) return true
  return false
}
