/** Models that show what is inside another: the same graph with more outputs, and one node by itself. */

import { Graph, Model } from '../ir/graph.ts'
import type { Node } from '../ir/node.ts'
import { readsOf } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { cloneGraph } from '../passes/index.ts'
import type { Feeds } from '../runtime/engine.ts'

/** The model with further outputs; nodes and values are shared with it. */
export function withExtraOutputs(model: Model, values: readonly Value[]): Model {
  const { graph } = model
  const extended = new Graph(graph.name)
  extended.inputs = graph.inputs
  extended.initializers = graph.initializers
  extended.nodes = graph.nodes
  extended.outputs = [...graph.outputs, ...values.filter(value => !graph.outputs.includes(value))]
  return sameKind(model, extended)
}

/** What a node reads that a node or a caller gives it: neither initializers nor constants. */
export function variableInputs(node: Node): Value[] {
  return [...readsOf(node)].filter(value => value.tensor === null && !isConstant(value))
}

/**
 * A model of one node, whose variable inputs are fed. Initializers and Constant nodes stay what they are: engines ask
 * for some inputs to be constant.
 *
 * @param feeds a tensor for each variable input
 * @param outputs of the node, as far as they are wanted
 */
export function modelOfNode(model: Model, node: Node, feeds: Feeds, outputs: readonly Value[]): Model {
  const reads = [...readsOf(node)]
  const weights = reads.filter(value => value.tensor !== null)
  const graph = new Graph(model.graph.name)
  graph.inputs = [...variableInputs(node), ...weights.filter(value => model.graph.inputs.includes(value))]
  graph.initializers = weights
  graph.nodes = [...new Set(reads.filter(isConstant).map(value => value.producer!)), node]
  graph.outputs = [...outputs]
  const alone = cloneGraph(graph)
  for (const input of alone.inputs) {
    const tensor = feeds.get(input.name)
    if (tensor) input.type = { kind: 'tensor', dtype: tensor.dtype, shape: tensor.dims }
  }
  return sameKind(model, alone)
}

const isConstant = (value: Value) => value.producer?.opType === 'Constant'

function sameKind(model: Model, graph: Graph): Model {
  const copy = new Model(graph, model.irVersion, model.opsetImports)
  copy.functions = model.functions
  return copy
}
