/**
 * Constant folding by observation. The caller runs the model once: `constantValues` tells whose elements to ask for,
 * `applyObserved` puts them, and every observed shape, into the graph.
 */

import type { Tensor } from '../tensor/tensor.ts'
import type { Graph, Model } from '../ir/graph.ts'
import { readsOf } from '../ir/topology.ts'
import type { TensorType, Value } from '../ir/value.ts'
import { removeDeadNodesOf } from './dead-nodes.ts'
import { variableValues } from './dependence.ts'
import { removeIdentities } from './identities.ts'
import { definitionsOf } from './names.ts'
import type { PassResult } from './pass.ts'

/**
 * The frontier of the constant part of the main graph: node outputs that are the same in every run and are read by a
 * node that is not (or are graph outputs). `variable`: the values a training program changes, parameters and running
 * statistics. `Shape` and `Size` of anything are constant, because a program is built for one batch shape.
 */
export function constantValues(graph: Graph, variable: Iterable<Value> = []): Value[] {
  const changing = variableValues(graph, variable)
  const frontier = new Set<Value>()
  const add = (value: Value) => {
    if (value.producer && !changing.has(value)) frontier.add(value)
  }
  const own = new Set(graph.nodes.flatMap(node => node.outputs))
  for (const node of graph.nodes) {
    if (!node.outputs.some(output => output && changing.has(output))) continue
    for (const value of readsOf(node)) if (own.has(value)) add(value)
  }
  graph.outputs.forEach(add)
  return [...frontier]
}

/** What one run of the model showed, by value name. */
export interface Observations {
  /** Element type and static shape of as many values of the main graph as could be seen. */
  readonly types: ReadonlyMap<string, TensorType>
  /** The elements of what `constantValues` listed. */
  readonly values: ReadonlyMap<string, Tensor>
}

/**
 * Gives every observed value its element type and static shape, turns the observed constants into initializers, then
 * removes Identity nodes and everything that nothing needs any more. Lists the values left without a static shape
 * (sequences, for instance).
 */
export function applyObserved(
  model: Model,
  observations: Observations,
): PassResult & { readonly unobserved: Value[] } {
  const { graph } = model
  for (const node of graph.nodes) {
    node.outputs = node.outputs.map(value => {
      const tensor = value && observations.values.get(value.name)
      if (!value || !tensor) return value
      value.tensor = tensor
      value.producer = null
      graph.initializers.push(value)
      return null
    })
  }
  removeIdentities(model)
  removeDeadNodesOf(graph)
  const unobserved: Value[] = []
  for (const value of definitionsOf(graph)) {
    const seen = observations.types.get(value.name)
    if (value.tensor) value.type = { kind: 'tensor', dtype: value.tensor.dtype, shape: value.tensor.dims }
    else if (seen) value.type = seen
    if (value.staticShape === null) unobserved.push(value)
  }
  return { model, modified: true, unobserved }
}
