/** Gradients of the losses: of the composites, and of those that the standard has. */

import { EXPANSIONS } from '../../ops/expansions/index.ts'
import { invariant } from '../../util/errors.ts'
import { compositeKey } from '../composites.ts'
import { expanded, rule, type GradientRule, type RuleTable } from '../rule.ts'

/** dlogits = (softmax(logits) · Σ target − target) · dloss; dtarget = −log_prob · dloss. */
const SoftmaxCrossEntropy: GradientRule = context => {
  const { op, node, grads } = context
  invariant(!grads[1], `${node.label}: log_prob carries no gradient`)
  const { dy } = context
  const [target, logProb] = [node.input(1), node.output(1)]
  const dlogits = () => {
    const mass = op.ReduceSum(target, [node.int('axis', 1)])
    return op.Mul(op.Sub(op.Mul(op.Exp(logProb), mass), target), dy)
  }
  return [context.needs(0) ? dlogits() : null, context.needs(1) ? op.Mul(op.Neg(logProb), dy) : null]
}

/** dx = (σ(x) − t) · dy; dt = −x · dy. */
const SigmoidCrossEntropy: GradientRule = context => {
  const { op, node, dy } = context
  const [x, t] = [node.input(0), node.input(1)]
  return [
    context.needs(0) ? op.Mul(op.Sub(op.Sigmoid(x), t), dy) : null,
    context.needs(1) ? op.Mul(op.Neg(x), dy) : null,
  ]
}

export const lossRules: RuleTable = {
  [compositeKey('SoftmaxCrossEntropy')]: rule(SoftmaxCrossEntropy),
  [compositeKey('SigmoidCrossEntropy')]: rule(SigmoidCrossEntropy),
  NegativeLogLikelihoodLoss: expanded(EXPANSIONS.NegativeLogLikelihoodLoss),
  SoftmaxCrossEntropyLoss: expanded(EXPANSIONS.SoftmaxCrossEntropyLoss),
}
