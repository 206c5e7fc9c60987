/** Checks that a graph is one: names are unique, values are defined before they are read, links agree. */

import { InputError } from '../util/errors.ts'
import type { Graph } from '../ir/graph.ts'
import { sortNodes } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'

/** Throws an InputError that names the first fault. `outer`: the values that surrounding graphs define. */
export function verify(graph: Graph, outer: ReadonlySet<Value> = new Set()): void {
  const where = `graph ${graph.name || '(unnamed)'}`
  const scope = outer.size > 0 ? `${where} or around it` : where
  const defined = new Set(outer)
  const names = new Map<string, string>()
  for (const value of outer) names.set(value.name, 'a surrounding graph')
  const define = (value: Value, by: string) => {
    const earlier = names.get(value.name)
    if (earlier !== undefined) {
      throw new InputError(`${where}: value "${value.name}" is defined twice, by ${earlier} and by ${by}`)
    }
    names.set(value.name, by)
    defined.add(value)
  }
  const sources = new Set([...graph.inputs, ...graph.initializers])
  for (const value of sources) {
    const kind = value.tensor === null ? 'an input' : 'an initializer'
    if (value.producer) {
      throw new InputError(`${where}: ${kind} "${value.name}" is produced by ${value.producer.label} too`)
    }
    define(value, kind)
  }
  for (const value of graph.initializers) {
    if (value.tensor === null) throw new InputError(`${where}: initializer "${value.name}" has no tensor`)
  }
  const made = new Set<Value>(graph.nodes.flatMap(node => node.outputs.filter(output => output !== null)))
  for (const node of graph.nodes) {
    node.inputs.forEach((value, index) => {
      if (!value || defined.has(value)) return
      if (!made.has(value)) {
        throw new InputError(`${node.label}: input ${index} "${value.name}" is not defined in ${scope}`)
      }
      sortNodes(graph.nodes) // names the node of a cycle, if there is one
      const producer = value.producer?.label ?? 'a later node'
      throw new InputError(
        `${node.label}: input ${index} "${value.name}" is read before ${producer} makes it`,
      )
    })
    for (const subgraph of node.subgraphs()) verify(subgraph, defined)
    for (const output of node.outputs) {
      if (!output) continue
      if (output.producer !== node) {
        const found = output.producer?.label ?? 'nothing'
        throw new InputError(`${node.label}: output "${output.name}" says that its producer is ${found}`)
      }
      define(output, node.label)
    }
  }
  for (const value of graph.outputs) {
    if (!defined.has(value)) throw new InputError(`${where}: output "${value.name}" is not defined`)
  }
}
