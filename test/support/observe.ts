/** Static shapes and folded constants for a small model, from one run, as the product's import has them. */

import { Graph, Model } from '../../src/ir/graph.ts'
import type { TensorType, Value } from '../../src/ir/value.ts'
import { applyObserved, constantValues } from '../../src/passes/fold-constants.ts'
import { runModel, type Feeds } from './ort.ts'

/** `variable`: the initializers that are parameters or running statistics. */
export async function observeModel(model: Model, feeds: Feeds, variable: Iterable<Value>): Promise<void> {
  const { graph } = model
  for (const input of graph.feeds) {
    const { dtype, dims } = feeds[input.name]!
    input.type = { kind: 'tensor', dtype, shape: dims }
  }
  const observed = new Graph(graph.name)
  observed.inputs = graph.inputs
  observed.initializers = graph.initializers
  observed.nodes = graph.nodes
  observed.outputs = graph.nodes.flatMap(node => node.outputs.filter(output => output !== null))
  for (const value of observed.outputs) value.type = null
  const found = await runModel(new Model(observed, model.irVersion, model.opsetImports), feeds)
  const types = Object.entries(found).map(([name, { dtype, dims }]): [string, TensorType] => [
    name,
    { kind: 'tensor', dtype, shape: dims },
  ])
  const constants = constantValues(graph, variable).map(value => [value.name, found[value.name]!] as const)
  applyObserved(model, { types: new Map(types), values: new Map(constants) })
}
