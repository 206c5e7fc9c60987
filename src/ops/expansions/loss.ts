/** The losses of the standard (ONNX: SoftmaxCrossEntropyLoss 13, NegativeLogLikelihoodLoss 22). */

import type { Builder } from '../../ir/builder.ts'
import type { Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import { UnsupportedError } from '../../util/errors.ts'
import type { Expansion } from '../expansion.ts'

export const negativeLogLikelihoodLoss: Expansion = (op, node) => likelihood(op, node, node.input(0))

/** Outputs: the loss, and the logarithms of the probabilities. */
export const softmaxCrossEntropyLoss: Expansion = (op, node) => {
  const logProb = op.LogSoftmax(node.input(0), 1)
  return [likelihood(op, node, logProb), logProb]
}

/**
 * −w[label] · logProb[label] at each place of [N, d...], zero where the label is ignore_index; then as it is, summed, or divided by
 * the sum of the weights.
 */
function likelihood(op: Builder, node: Node, logProb: Value): Value {
  const [labels, weights] = [node.input(1), node.inputs[2] ?? null]
  const { shape } = labels
  const column = op.Reshape(labels, [shape[0]!, 1, ...shape.slice(1)])
  const ignored = node.attributes.has('ignore_index')
    ? op.Equal(column, op.scalarLike(column, node.int('ignore_index', 0)))
    : null
  const chosen = ignored ? op.Where(ignored, op.scalarLike(column, 0), column) : column
  const ones = () => op.full(column.shape, 1, logProb.dtype)
  const weight = weights ? op.Gather(weights, chosen, 0) : null
  const kept = (x: Value) => (ignored ? op.Where(ignored, op.scalarLike(x, 0), x) : x)
  const picked = op.Neg(op.GatherElements(logProb, chosen, 1))
  const losses = kept(weight ? op.Mul(picked, weight) : picked)
  const reduction = node.string('reduction', 'mean')
  const all = column.shape.map((_, axis) => axis)
  const sum = () => op.ReduceSum(losses, all, false)
  const results: Readonly<Record<string, () => Value>> = {
    none: () => op.Reshape(losses, shape),
    sum,
    mean: () => op.Div(sum(), op.ReduceSum(kept(weight ?? ones()), all, false)),
  }
  const result = results[reduction]
  if (result) return result()
  throw new UnsupportedError(
    `${node.label}: attribute reduction should be one of ${Object.keys(results).join(', ')}, found ${reduction}`,
  )
}
