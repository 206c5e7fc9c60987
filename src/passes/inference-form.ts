/** Turns the training form of nodes off: batch normalization reads its stored statistics, dropout passes everything. */

import { UnsupportedError } from '../util/errors.ts'
import { ONNX_DOMAIN, type Node } from '../ir/node.ts'
import { usesOf, walkGraphs } from '../ir/topology.ts'
import type { Value } from '../ir/value.ts'
import { isBatchNorm, isTrainingForm } from './batch-norms.ts'
import { redirectReads } from './identities.ts'
import type { Pass } from './pass.ts'

/** From this opset on Dropout has the input training_mode. */
const TRAINING_MODE_INPUT = 2

/**
 * 1. BatchNormalization in training form: `training_mode` and the outputs besides the first go; reads of the running
 *    statistics, which are what goes in when nothing is learned, go to the inputs.
 * 2. Dropout: the input `training_mode` goes, whose default is false.
 */
export const toInferenceForm: Pass = model => {
  const graphs = [...walkGraphs(model.graph)]
  const outputs = new Set(graphs.flatMap(graph => graph.outputs))
  const reads = usesOf(model.graph)
  const sources = new Map<Value, Value>()
  let modified = false
  for (const node of graphs.flatMap(graph => graph.nodes)) {
    if (isBatchNorm(node) && isTrainingForm(node)) {
      const [, ...statistics] = node.outputs
      statistics.forEach((value, index) => {
        if (!value) return
        if (outputs.has(value) || (index > 1 && reads.has(value))) {
          throw new UnsupportedError(
            `${node.label}: its statistics "${value.name}" are read, which inference does not give`,
          )
        }
        if (index <= 1) sources.set(value, node.input(index + 3))
      })
      node.attributes.delete('training_mode')
      node.outputs = [node.output(0)]
      modified = true
    } else if (isTrainingDropout(node)) {
      node.inputs = node.inputs.slice(0, TRAINING_MODE_INPUT)
      modified = true
    }
  }
  redirectReads(model.graph, sources)
  return { model, modified }
}

function isTrainingDropout(node: Node): boolean {
  return node.opType === 'Dropout' && node.domain === ONNX_DOMAIN && Boolean(node.inputs[TRAINING_MODE_INPUT])
}
