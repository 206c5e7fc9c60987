/** All tensors of a model that a program can hold, and new bytes for them. */

import type { Graph, Model } from '../../../src/ir/graph.ts'
import { walkGraphs, walkNodes } from '../../../src/ir/topology.ts'
import { MemorySource, type ByteSource } from '../../../src/tensor/source.ts'
import type { Tensor } from '../../../src/tensor/tensor.ts'
import type { Random } from '../../../src/util/random.ts'

/** Initializers and attribute tensors of all graphs, sub-graphs and functions; no strings. */
export function weightsOf(model: Model): Tensor[] {
  const graphs = [model.graph, ...model.functions.map(definition => definition.graph)]
  return graphs.flatMap(tensorsOf).filter(tensor => tensor.dtype !== 'string')
}

function tensorsOf(graph: Graph): Tensor[] {
  const tensors = [...walkGraphs(graph)].flatMap(inner =>
    inner.initializers.flatMap(value => value.tensor ?? []),
  )
  for (const node of walkNodes(graph)) {
    for (const attribute of node.attributes.values()) {
      if (attribute.kind === 'tensor') tensors.push(attribute.value)
      if (attribute.kind === 'tensors') tensors.push(...attribute.value)
    }
  }
  return tensors
}

/** Random bytes in place of a tensor's; those of booleans stay booleans. */
export function randomBytes(tensor: Tensor, random: Random): ByteSource {
  const limit = tensor.dtype === 'bool' ? 2 : 256
  return new MemorySource(Uint8Array.from({ length: tensor.byteLength }, () => random.integer(limit)))
}
