/** Replaces standard nodes by other standard nodes: how an engine's lowering puts what it has in place of what it has not. */

import { Builder } from '../ir/builder.ts'
import type { Graph } from '../ir/graph.ts'
import type { Node } from '../ir/node.ts'
import { usesOf } from '../ir/topology.ts'
import { Value } from '../ir/value.ts'
import { invariant } from '../util/errors.ts'
import { bindOutput } from './bind-output.ts'
import { removeDeadNodesOf } from './dead-nodes.ts'
import { namesOf } from './names.ts'

/**
 * Writes what replaces a node and gives a value for each of its outputs that somebody reads (one value stands for output
 * 0), or null to leave the node as it is. What it writes is offered to the forms in its turn.
 */
export type NodeForm = (
  op: Builder,
  node: Node,
  reads: (output: number) => boolean,
) => Value | readonly (Value | null)[] | null

/** Operator, with its domain unless it is the default one -> its forms, of which the first that applies is taken. */
export type NodeForms = Readonly<Record<string, readonly NodeForm[]>>

/** More rounds than any chain of forms needs: two forms that undo each other would go on for ever. */
const MAX_DEPTH = 8

/** Replaces nodes of one graph in place, then drops what nobody needs any more. Outputs keep their names. */
export function replaceNodes(graph: Graph, forms: NodeForms): void {
  const op = new Builder(namesOf(graph))
  const uses = usesOf(graph)
  const read = new Set<Value>([...uses.keys(), ...graph.outputs])
  const place = (node: Node, depth: number): Node[] => {
    const results = replacementOf(op, node, forms, index => read.has(node.outputs[index]!))
    if (!results) return [node]
    invariant(depth < MAX_DEPTH, `the forms of ${node.label} replace each other`)
    const bound = new Map<Value, Value>()
    node.outputs.forEach((output, i) => {
      const result = results[i] ?? null
      if (output && read.has(output)) bindOutput(op, output, result, bound, `output ${i} of ${node.label}`)
    })
    const written = op.nodes.splice(0)
    for (const { inputs } of written) for (const input of inputs) if (input) read.add(input)
    return written.flatMap(next => place(next, depth + 1))
  }
  graph.nodes = graph.nodes.flatMap(node => place(node, 0))
  graph.initializers.push(...op.initializers)
  removeDeadNodesOf(graph)
}

function replacementOf(
  op: Builder,
  node: Node,
  forms: NodeForms,
  reads: (output: number) => boolean,
): readonly (Value | null)[] | null {
  for (const form of forms[node.key] ?? []) {
    const found = op.within(node.name, () => form(op, node, reads))
    if (found) return found instanceof Value ? [found] : found
    invariant(op.nodes.length === 0, `a form of ${node.label} wrote nodes and left it as it is`)
  }
  return null
}
