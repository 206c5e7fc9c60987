/** What a person should know about where the nodes of a program ran. */

import type { Graph } from '../../ir/graph.ts'
import type { Node } from '../../ir/node.ts'
import { walkNodes } from '../../ir/topology.ts'
import { sizeOf } from '../../tensor/shape.ts'
import type { PlacedNode } from './placement.ts'

/**
 * What belongs on the CPU even where everything else is on a device: questions about shapes, and the copies between the two,
 * which ONNX Runtime adds by itself.
 */
const HOST_OPERATORS: ReadonlySet<string> = new Set(['Shape', 'Size', 'MemcpyFromHost', 'MemcpyToHost'])

/** As many integers or truth values as shapes, axes and loop conditions have: ONNX Runtime computes those on the CPU. */
const HOST_ELEMENTS = 64

/** One note for each operator whose nodes ran elsewhere than on `provider`; none where all is well. */
export function placementNotes(
  placed: readonly PlacedNode[],
  graph: Graph,
  provider: string,
): readonly string[] {
  const known = new Map([...walkNodes(graph)].map(node => [node.name, node]))
  const strays = placed.filter(node => node.provider !== provider && !belongsOnHost(node, known))
  const groups = new Map<string, string[]>()
  for (const { opType, provider: found, name } of strays) {
    const what = `${opType} ran on ${found}, not on ${provider}`
    groups.set(what, [...(groups.get(what) ?? []), `"${name}"`])
  }
  return [...groups].map(([what, names]) => `${what}, which costs copies to and fro: ${names.join(', ')}`)
}

function belongsOnHost({ opType, name }: PlacedNode, known: ReadonlyMap<string, Node>): boolean {
  if (HOST_OPERATORS.has(opType)) return true
  const outputs = known.get(name)?.outputs.filter(output => output !== null)
  return outputs?.every(isSmallInteger) ?? false
}

function isSmallInteger({ type }: Node['outputs'][number] & object): boolean {
  if (type?.kind !== 'tensor' || !['int64', 'int32', 'bool'].includes(type.dtype)) return false
  const shape = type.shape ?? [HOST_ELEMENTS + 1]
  return shape.every(dim => typeof dim === 'number') && sizeOf(shape) <= HOST_ELEMENTS
}
