/** Nodes of a program that ONNX Runtime rightly leaves on the CPU although everything else is on the GPU. */

import type { Graph } from '../../ir/graph.ts'
import type { Value } from '../../ir/value.ts'
import { walkNodes } from '../../ir/topology.ts'
import { sizeOf } from '../../tensor/shape.ts'

/** As many integers or truth values as shapes, axes and loop conditions have: ONNX Runtime computes those on the CPU. */
const HOST_ELEMENTS = 64

/** Names of the nodes, also inside sub-graphs, that give nothing but small integers. */
export function hostNodes(graph: Graph): Set<string> {
  const small = [...walkNodes(graph)].filter(({ outputs }) =>
    outputs.every(output => output === null || isSmallInteger(output)),
  )
  return new Set(small.map(({ name }) => name))
}

function isSmallInteger({ type }: Value): boolean {
  if (type?.kind !== 'tensor' || !['int64', 'int32', 'bool'].includes(type.dtype)) return false
  const shape = type.shape ?? [HOST_ELEMENTS + 1]
  return shape.every(dim => typeof dim === 'number') && sizeOf(shape) <= HOST_ELEMENTS
}
