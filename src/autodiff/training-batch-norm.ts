/** Replaces a BatchNormalization node by batch statistics: what a training program does before it differentiates. */

import type { Builder } from '../ir/builder.ts'
import type { Node } from '../ir/node.ts'
import type { Value } from '../ir/value.ts'
import { sizeOf } from '../tensor/shape.ts'
import { InputError } from '../util/errors.ts'
import { batchNormTrain } from './composites.ts'

export interface TrainingBatchNorm {
  /** The composite, already on the tape; its output 0 is the value that was the replaced node's Y. */
  readonly node: Node
  /** Statistics of the batch; the variance is the population's. */
  readonly mean: Value
  readonly variance: Value
  /** Inputs 3 and 4 of the replaced node, which the composite does not read. */
  readonly runningMean: Value
  readonly runningVariance: Value
  /** ONNX's: running = running · momentum + batch · (1 − momentum). PyTorch's is 1 − this. */
  readonly momentum: number
  /** Elements per channel, n: PyTorch keeps variance · n / (n − 1). */
  readonly count: number
}

/**
 * Writes BatchNormTrain for a BatchNormalization node in any of its forms: inference (one output), training_mode = 1
 * (outputs Y, running mean, running variance), or the five outputs of training before opset 14. Consumers of Y stay as
 * they are. The other outputs lose their producer: who reads running statistics computes them from what is returned.
 */
export function toTrainingBatchNorm(node: Node, op: Builder): TrainingBatchNorm {
  if (node.opType !== 'BatchNormalization') {
    throw new InputError(`${node.label}: expected a BatchNormalization node`)
  }
  const [x, scale, bias, runningMean, runningVariance] = [0, 1, 2, 3, 4].map(i => node.input(i)) as [
    Value,
    Value,
    Value,
    Value,
    Value,
  ]
  const y = node.output(0)
  const epsilon = node.float('epsilon', 1e-5)
  const {
    y: fresh,
    mean,
    variance,
  } = op.within(node.name || y.name, () => batchNormTrain(op, { x, scale, bias }, epsilon))
  const composite = fresh.producer!
  composite.outputs[0] = y
  y.producer = composite
  const momentum = node.float('momentum', 0.9)
  const count = sizeOf(x.shape) / x.shape[1]!
  return { node: composite, mean, variance, runningMean, runningVariance, momentum, count }
}
