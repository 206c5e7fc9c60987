/**
 * Models exported for training are evaluated in inference form: BatchNormalization with training_mode uses the batch's
 * statistics (and ONNX Runtime overwrites the stored ones in place), Dropout drops.
 */

import { float } from '../ir/attribute.ts'
import type { Graph, Model } from '../ir/graph.ts'
import { Node, ONNX_DOMAIN } from '../ir/node.ts'
import { walkGraphs } from '../ir/topology.ts'
import { isBatchNorm, isTrainingForm } from '../passes/index.ts'
import type { ModelSource } from '../runtime/engine.ts'
import { loadModel, serializeModel } from '../serde/index.ts'

/** What to open for evaluating a model file: its path, or the bytes of its inference form where they differ. */
export async function evaluationSource(path: string): Promise<ModelSource> {
  const file = await loadModel(path)
  try {
    return toInferenceForm(file.model) ? await serializeModel(file.model) : path
  } finally {
    await file.close()
  }
}

/** Puts every node in inference form; tells whether any was not. */
export function toInferenceForm(model: Model): boolean {
  let changed = false
  for (const graph of walkGraphs(model.graph)) {
    const read = readValues(graph)
    graph.nodes = graph.nodes.map(node => {
      const form = inferenceForm(node, output => read.has(output))
      if (form !== node) changed = true
      return form
    })
  }
  return changed
}

function inferenceForm(node: Node, isRead: (value: unknown) => boolean): Node {
  const { name } = node
  if (isBatchNorm(node) && isTrainingForm(node)) {
    const attributes = new Map([['epsilon', float(node.float('epsilon', 1e-5))]])
    return new Node('BatchNormalization', node.inputs, [node.output(0)], { name, attributes })
  }
  const drops = node.opType === 'Dropout' && node.domain === ONNX_DOMAIN && node.inputs[2]
  if (drops && !node.outputs.slice(1).some(isRead))
    return new Node('Identity', [node.input(0)], [node.output(0)], { name })
  return node
}

function readValues(graph: Graph): Set<unknown> {
  return new Set<unknown>([...graph.outputs, ...graph.nodes.flatMap(node => node.inputs)])
}
