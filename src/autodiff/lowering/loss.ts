/** Lowerings of the loss composites to standard operators. */

import type { Value } from '../../ir/value.ts'
import type { Lowering } from './lower.ts'

/** log_prob = z − log Σ exp(z) with z = logits − max: LogSoftmax has no WebGPU kernel, nor ReduceLogSumExp a stable one. */
export const softmaxCrossEntropyByParts: Lowering = ({ op, node, inputs, wants }) => {
  const [logits, target] = inputs as [Value, Value]
  const axis = node.int('axis', 1)
  const z = op.Sub(logits, op.ReduceMax(logits, [axis]))
  const logProb = op.Sub(z, op.Log(op.ReduceSum(op.Exp(z), [axis])))
  const axes = logits.shape.map((_, i) => i)
  const loss = wants(0) ? op.Neg(op.ReduceSum(op.Mul(target, logProb), axes, false)) : null
  return [loss, logProb]
}

/** max(x, 0) − x·t + log(1 + exp(−|x|)). */
export const sigmoidCrossEntropyByParts: Lowering = ({ op, inputs }) => {
  const [x, t] = inputs as [Value, Value]
  const tail = op.Softplus(op.Neg(op.Abs(x)))
  return [op.Add(op.Sub(op.Relu(x), op.Mul(x, t)), tail)]
}
