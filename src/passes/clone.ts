/** A structural copy of a model, so that training may rewrite it; tensors, which nobody changes, are shared. */

import type { Attribute } from '../ir/attribute.ts'
import { FunctionDefinition, Graph, Model } from '../ir/graph.ts'
import { Node } from '../ir/node.ts'
import { Value } from '../ir/value.ts'

export interface ClonedModel {
  readonly model: Model
  /** Every value of the original (sub-graphs and functions included) -> its copy. */
  readonly values: Map<Value, Value>
}

/** Copies graphs, functions, nodes, values and attribute maps. */
export function cloneModel(model: Model): ClonedModel {
  const values = new Map<Value, Value>()
  const copy = new Model(cloneGraph(model.graph, values), model.irVersion, new Map(model.opsetImports))
  copy.functions = model.functions.map(definition => cloneFunction(definition, values))
  copy.metadata = new Map(model.metadata)
  copy.producerName = model.producerName
  copy.producerVersion = model.producerVersion
  copy.extra = model.extra
  return { model: copy, values }
}

/**
 * Copies a graph and the graphs inside it. `values` holds what is copied already (a value found there is replaced by
 * what it maps to) and receives the rest; values of surrounding graphs that are not in it stay what they are.
 */
export function cloneGraph(graph: Graph, values: Map<Value, Value> = new Map()): Graph {
  const own = (value: Value) => {
    const copy = values.get(value) ?? cloneValue(value)
    values.set(value, copy)
    return copy
  }
  const known = (value: Value | null) => (value === null ? null : (values.get(value) ?? value))
  const copy = new Graph(graph.name)
  copy.extra = graph.extra
  copy.inputs = graph.inputs.map(own)
  copy.initializers = graph.initializers.map(own)
  for (const node of graph.nodes) for (const output of node.outputs) if (output) own(output)
  copy.nodes = graph.nodes.map(node => {
    const attributes = new Map<string, Attribute>()
    for (const [name, attribute] of node.attributes) attributes.set(name, cloneAttribute(attribute, values))
    const { domain, name, overload } = node
    const options = { domain, name, overload, attributes }
    const clone = new Node(node.opType, node.inputs.map(known), node.outputs.map(known), options)
    clone.extra = node.extra
    return clone
  })
  copy.outputs = graph.outputs.map(value => known(value)!)
  return copy
}

function cloneFunction(definition: FunctionDefinition, values: Map<Value, Value>): FunctionDefinition {
  const { domain, name, overload } = definition
  const copy = new FunctionDefinition(domain, name, overload, cloneGraph(definition.graph, values))
  copy.opsetImports = new Map(definition.opsetImports)
  copy.defaults = new Map(definition.defaults)
  copy.extra = definition.extra
  return copy
}

function cloneAttribute(attribute: Attribute, values: Map<Value, Value>): Attribute {
  if (attribute.kind === 'graph') return { ...attribute, value: cloneGraph(attribute.value, values) }
  if (attribute.kind === 'graphs') {
    return { ...attribute, value: attribute.value.map(graph => cloneGraph(graph, values)) }
  }
  return attribute
}

function cloneValue(value: Value): Value {
  const copy = new Value(value.name, value.type)
  copy.tensor = value.tensor
  copy.extra = value.extra
  return copy
}
