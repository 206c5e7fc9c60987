/** Names across a whole graph: sub-graphs see the names around them, so a new name must be new everywhere. */

import type { Graph } from '../ir/graph.ts'
import { walkGraphs } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'

/** The values that one graph defines: inputs, initializers and node outputs. */
export function definitionsOf(graph: Graph): Set<Value> {
  const made = graph.nodes.flatMap(node => node.outputs.filter(output => output !== null))
  return new Set([...graph.inputs, ...graph.initializers, ...made])
}

/** Every value name and node name of a graph and of its sub-graphs. */
export function namesOf(graph: Graph): Set<string> {
  const names = new Set<string>()
  for (const inner of walkGraphs(graph)) {
    for (const value of definitionsOf(inner)) names.add(value.name)
    for (const node of inner.nodes) names.add(node.name)
  }
  return names
}

/** Makes names that nobody has: the wanted one, or with a counter behind it. */
export class Names {
  readonly #taken: Set<string>

  constructor(graph: Graph) {
    this.#taken = namesOf(graph)
  }

  fresh(wanted: string): string {
    let name = wanted
    for (let i = 1; this.#taken.has(name); i++) name = `${wanted}_${i}`
    this.#taken.add(name)
    return name
  }
}
