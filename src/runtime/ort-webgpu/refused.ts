/** Nodes that WebGPU's kernels take and then fail on: ONNX Runtime must be told to run them on the CPU. */

import { ONNX_DOMAIN, type Node } from '../../ir/node.ts'
import type { Graph } from '../../ir/graph.ts'
import { walkNodes } from '../../ir/topology.ts'

/** Operator -> whether its kernel fails on a node (ONNX Runtime 1.30). What has another form is gone before. */
const FAILS: Readonly<Record<string, (node: Node) => boolean>> = {
  // "The Indices output is not supported yet"; "Using column major storage_order is not supported yet"
  MaxPool: node => Boolean(node.outputs[1]) || node.int('storage_order', 0) !== 0,
  // "trainingMode is not supported yet"
  BatchNormalization: node => node.int('training_mode', 0) !== 0,
  // Reductions are there for 32-bit elements only.
  ScatterND: node => node.string('reduction', 'none') !== 'none' && node.input(0).dtype === 'float16',
}

/** Names of these nodes, for the provider's option `forceCpuNodeNames`. */
export function refusedNodes(graph: Graph): string[] {
  const refused = (node: Node) => node.domain === ONNX_DOMAIN && FAILS[node.opType]?.(node)
  return [...walkNodes(graph)].filter(refused).map(node => node.name)
}
