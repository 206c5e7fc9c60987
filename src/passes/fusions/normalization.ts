/** Normalizations that ONNX Runtime's optimiser writes as one node, some with the sum or the embeddings before them. */

import { float } from '../../ir/attribute.ts'
import type { Builder } from '../../ir/builder.ts'
import type { Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import { normalizeAxis } from '../../tensor/shape.ts'
import { UnsupportedError } from '../../util/errors.ts'
import type { NodeForm, NodeForms } from '../replace-nodes.ts'

/** What the fused normalizations have by default, unlike LayerNormalization. */
const EPSILON = 1e-12

/** Mean and deviation are outputs for training builds of ONNX Runtime; nothing else reads them. */
function refuseStatistics(node: Node, reads: (output: number) => boolean): void {
  for (const index of [1, 2]) {
    if (!reads(index)) continue
    throw new UnsupportedError(`gradient: output ${index} of ${node.label} is used, expected only its result`)
  }
}

function layerNorm(op: Builder, x: Value, scale: Value, bias: Value | null, epsilon: number): Value {
  const inputs = bias ? [x, scale, bias] : [x, scale]
  return op.one('LayerNormalization', inputs, { shape: x.shape }, { axis: -1, epsilon: float(epsilon) })
}

/** x / √(mean(x²) + ε) · scale, over the axes from `axis` on. */
function rmsNorm(op: Builder, x: Value, scale: Value, axis: number, epsilon: number): Value {
  const axes = x.shape.map((_, i) => i).slice(axis)
  const power = op.ReduceMean(op.Mul(x, x), axes)
  const rstd = op.Reciprocal(op.Sqrt(op.Add(power, op.scalarLike(x, epsilon))))
  return op.Mul(op.Mul(x, rstd), scale)
}

const simplified: NodeForm = (op, node, reads) => {
  refuseStatistics(node, reads)
  const x = node.input(0)
  const axis = normalizeAxis(node.int('axis', -1), x.rank, node.label)
  return rmsNorm(op, x, node.input(1), axis, node.float('epsilon', 1e-5))
}

/** Output 3 is what is normalized: input + skip (+ bias). */
function summed(op: Builder, node: Node, bias: Value | null | undefined): Value {
  const sum = op.Add(node.input(0), node.input(1))
  return bias ? op.Add(sum, bias) : sum
}

const skip: NodeForm = (op, node, reads) => {
  refuseStatistics(node, reads)
  const sum = summed(op, node, node.inputs[4])
  const y = layerNorm(op, sum, node.input(2), node.inputs[3] ?? null, node.float('epsilon', EPSILON))
  return [y, null, null, sum]
}

const skipSimplified: NodeForm = (op, node, reads) => {
  refuseStatistics(node, reads)
  const sum = summed(op, node, node.inputs[3])
  const y = rmsNorm(op, sum, node.input(2), sum.rank - 1, node.float('epsilon', EPSILON))
  return [y, null, null, sum]
}

/** LayerNormalization(word[ids] + position[positions] + segment[segments]); mask index: ones of each row of the mask. */
const embed: NodeForm = (op, node, reads) => {
  const [ids, segments, words, places, kinds] = node.inputs as [
    Value,
    Value | null,
    Value,
    Value,
    Value | null,
  ]
  const [mask, positions] = [node.inputs[7] ?? null, node.inputs[8] ?? null]
  const steps = ids.shape[1]!
  const placed = positions ? op.Gather(places, positions, 0) : op.Slice(places, [0], [steps], [0])
  const located = op.Add(op.Gather(words, ids, 0), placed)
  const sum = segments && kinds ? op.Add(located, op.Gather(kinds, segments, 0)) : located
  const y = layerNorm(op, sum, node.input(5), node.input(6), node.float('epsilon', EPSILON))
  if (!reads(1)) return [y, null, sum]
  if (!mask) throw new UnsupportedError(`gradient: ${node.label} has no mask, but its mask index is used`)
  return [y, op.ReduceSum(mask, [1], false), sum]
}

export const normalizationFusions: NodeForms = {
  SimplifiedLayerNormalization: [simplified],
  'com.microsoft.SkipLayerNormalization': [skip],
  'com.microsoft.SkipSimplifiedLayerNormalization': [skipSimplified],
  'com.microsoft.EmbedLayerNormalization': [embed],
}
