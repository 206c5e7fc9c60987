/** What a model's graph says about the places for weights in it. */

import type { Model } from '../ir/graph.ts'
import { ONNX_DOMAIN } from '../ir/node.ts'
import { usesOf, walkNodes } from '../ir/topology.ts'
import { classifyWeights } from '../passes/index.ts'
import { modelWeights } from './model-weights.ts'

/** Places that a product reads as [in, out] matrices; PyTorch keeps such weights as [out, in]. */
export function rightFactors(model: Model): Set<string> {
  const uses = usesOf(model.graph)
  const isRight = (value: Parameters<typeof uses.get>[0]) =>
    (uses.get(value) ?? []).some(
      ({ node, index }) =>
        node.domain === ONNX_DOMAIN &&
        index === 1 &&
        (node.opType === 'MatMul' || (node.opType === 'Gemm' && node.int('transB', 0) === 0)),
    )
  return new Set(modelWeights(model).flatMap(({ name, value }) => (isRight(value) ? [name] : [])))
}

/** Places that hold what training learns or measures, by how the graph uses them; places in functions are not among them. */
export async function learnedPlaces(model: Model): Promise<Set<string>> {
  const learned = (await classifyWeights(model)).filter(({ role }) => role !== 'constant')
  const tensors = new Set(learned.map(({ tensor }) => tensor))
  return new Set(modelWeights(model).flatMap(({ name, tensor }) => (tensors.has(tensor) ? [name] : [])))
}

/**
 * The weight that stands in for a value of this name. PyTorch's exporter keeps one of several tensors that are equal at that
 * moment, such as the shifts and the running means of a net that was never trained, and names the others by Identity.
 */
export function mergedInto(model: Model, name: string): string | null {
  for (const node of walkNodes(model.graph)) {
    if (node.opType !== 'Identity' || node.outputs[0]?.name !== name) continue
    const kept = node.inputs[0]
    return kept?.tensor ? kept.name : null
  }
  return null
}
