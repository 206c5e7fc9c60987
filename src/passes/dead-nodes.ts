/** Drops what no output needs. */

import type { Graph } from '../ir/graph.ts'
import { readsOf } from '../ir/topology.ts'
import type { Node } from '../ir/node.ts'
import type { Value } from '../ir/value.ts'
import type { Pass } from './pass.ts'

/** Removes the nodes of the main graph that reach no graph output, then the initializers that nobody reads. */
export const removeDeadNodes: Pass = model => ({ model, modified: removeDeadNodesOf(model.graph) })

/** As `removeDeadNodes`, for one graph; inputs stay, because they are what callers feed. */
export function removeDeadNodesOf(graph: Graph): boolean {
  const needed = new Set<Value>(graph.outputs)
  const live = new Set<Node>()
  for (const node of graph.nodes.toReversed()) {
    if (!node.outputs.some(output => output && needed.has(output))) continue
    live.add(node)
    for (const value of readsOf(node)) needed.add(value)
  }
  const nodes = graph.nodes.filter(node => live.has(node))
  const initializers = graph.initializers.filter(value => needed.has(value) || graph.inputs.includes(value))
  const modified = nodes.length < graph.nodes.length || initializers.length < graph.initializers.length
  graph.nodes = nodes
  graph.initializers = initializers
  return modified
}
