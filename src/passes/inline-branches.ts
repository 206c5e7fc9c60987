/** Replaces an `If` whose condition is known by the branch that is taken. */

import type { Graph } from '../ir/graph.ts'
import { Node, ONNX_DOMAIN } from '../ir/node.ts'
import { walkGraphs } from '../ir/topology.ts'
import { cloneGraph } from './clone.ts'
import { tensorOf } from './lift-constants.ts'
import { definitionsOf, Names } from './names.ts'
import type { Pass } from './pass.ts'

/**
 * Inlines the main graph's `If` nodes whose condition is an initializer, which it is once constants are folded, and the
 * ones inside them. Values of a branch keep their names unless the other branch has the same. Shapes inside branches
 * were not observed, so the caller observes again where this modified something.
 */
export const inlineBranches: Pass = model => {
  const { graph } = model
  let modified = false
  for (let choice = nextChoice(graph); choice; choice = nextChoice(graph)) {
    graph.nodes.splice(choice.position, 1, ...inline(graph, choice))
    modified = true
  }
  return { model, modified }
}

interface Choice {
  readonly position: number
  readonly node: Node
  readonly branch: Graph
}

/** The first `If` whose branch is known. */
function nextChoice(graph: Graph): Choice | null {
  for (const [position, node] of graph.nodes.entries()) {
    if (node.opType !== 'If' || node.domain !== ONNX_DOMAIN) continue
    const condition = tensorOf(node.inputs[0])
    if (!condition?.resident) continue
    const attribute = node.attributes.get(condition.toNumbers()[0] ? 'then_branch' : 'else_branch')
    if (attribute?.kind === 'graph') return { position, node, branch: attribute.value }
  }
  return null
}

/** The nodes of a branch and an Identity for each output; its initializers move to the graph. */
function inline(graph: Graph, { node, branch }: Choice): Node[] {
  const names = new Names(graph)
  const counts = new Map<string, number>()
  for (const inner of walkGraphs(graph)) {
    for (const { name } of definitionsOf(inner)) counts.set(name, (counts.get(name) ?? 0) + 1)
  }
  const copy = cloneGraph(branch)
  for (const inner of walkGraphs(copy)) {
    for (const value of definitionsOf(inner))
      if (counts.get(value.name)! > 1) value.name = names.fresh(value.name)
  }
  graph.initializers.push(...copy.initializers)
  const results = node.outputs.flatMap((output, index) =>
    output
      ? [new Node('Identity', [copy.outputs[index]!], [output], { name: names.fresh(`${node.name}/output`) })]
      : [],
  )
  return [...copy.nodes, ...results]
}
