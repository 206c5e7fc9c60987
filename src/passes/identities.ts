/** Reads go straight to the source of an `Identity`. */

import type { Graph } from '../ir/graph.ts'
import { walkGraphs } from '../ir/topology.ts'
import { ONNX_DOMAIN } from '../ir/node.ts'
import type { Value } from '../ir/value.ts'
import type { Pass } from './pass.ts'

/** Removes the main graph's `Identity` nodes, except where one gives a graph output its name. */
export const removeIdentities: Pass = model => {
  const { graph } = model
  const outputs = new Set(graph.outputs)
  const sources = new Map<Value, Value>()
  graph.nodes = graph.nodes.filter(node => {
    if (node.opType !== 'Identity' || node.domain !== ONNX_DOMAIN) return true
    const [source, copy] = [node.input(0), node.outputs[0]]
    if (!copy || outputs.has(copy)) return true
    sources.set(copy, sources.get(source) ?? source)
    return false
  })
  redirectReads(graph, sources)
  return { model, modified: sources.size > 0 }
}

/** Every read of a key becomes a read of its value, in sub-graphs too; the outputs of `graph` itself stay. */
export function redirectReads(graph: Graph, sources: ReadonlyMap<Value, Value>): void {
  if (sources.size === 0) return
  for (const inner of walkGraphs(graph)) {
    for (const node of inner.nodes) {
      node.inputs = node.inputs.map(value => (value ? (sources.get(value) ?? value) : null))
    }
    if (inner !== graph) inner.outputs = inner.outputs.map(value => sources.get(value) ?? value)
  }
}
