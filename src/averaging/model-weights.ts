/** The tensors of an ONNX model that averaging looks at, under the names that snapshots give them too. */

import type { Graph, Model } from '../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { usesOf } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { weightOrigins } from '../passes/index.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { isAveraged } from './rounding.ts'

export interface ModelWeight {
  /** The value's name; with the node or function around it before it where another one is named so too. */
  readonly name: string
  readonly value: Value
  /** As the file holds it: what a writer replaces. */
  readonly tensor: Tensor
  /** Why it is part of the graph and not a weight: such tensors must be equal in all members. Null for weights. */
  readonly fixed: string | null
}

/** Inputs that act as attributes: a model with another number there is another function, not another checkpoint. */
const ATTRIBUTE_INPUTS: Readonly<Record<string, readonly number[]>> = {
  Clip: [1, 2],
  Dropout: [1],
  NonMaxSuppression: [3, 4],
  OneHot: [2],
  Pad: [2],
  Pow: [1],
  Range: [0, 1, 2],
  Resize: [1, 2],
  Upsample: [1],
}

/** Lists initializers and tensors of `Constant` nodes, of the main graph, of sub-graphs and of functions, in file order. */
export function modelWeights(model: Model): ModelWeight[] {
  const weights: ModelWeight[] = []
  const taken = new Set<string>()
  const visit = (graph: Graph, around: string, uses: ReturnType<typeof usesOf>) => {
    for (const [value, { tensor }] of weightOrigins(graph)) {
      if (!tensor) continue
      const name = freeName(value.name, around, taken)
      taken.add(name)
      const attribute = (uses.get(value) ?? []).find(
        ({ node, index }) => node.domain === ONNX_DOMAIN && ATTRIBUTE_INPUTS[node.opType]?.includes(index),
      )
      const fixed = !isAveraged(tensor.dtype)
        ? `elements are ${tensor.dtype}`
        : attribute
          ? `input ${attribute.index} of ${attribute.node.label}`
          : null
      weights.push({ name, value, tensor, fixed })
    }
    for (const node of graph.nodes) {
      for (const subgraph of node.subgraphs()) visit(subgraph, nameOf(node), uses)
    }
  }
  visit(model.graph, '', usesOf(model.graph))
  for (const { domain, name, graph } of model.functions) visit(graph, `${domain}.${name}`, usesOf(graph))
  return weights
}

function freeName(name: string, around: string, taken: ReadonlySet<string>): string {
  if (!taken.has(name)) return name
  const within = around ? `${around}/${name}` : name
  let free = within
  for (let i = 2; taken.has(free); i++) free = `${within}#${i}`
  return free
}

function nameOf(node: Node): string {
  return node.name || node.outputs.find(output => output)?.name || node.opType
}
