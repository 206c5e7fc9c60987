/**
 * Gradients of activation functions. Slopes are written in terms of the output y where that is possible: y is kept for
 * the next layer anyway, x often is not.
 */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import { broadcasting, rule, type GradientRule, type RuleTable } from '../rule.ts'
import { gate, oneMinus, scale, shift, square } from './common.ts'

const positive = (op: Builder, x: Value) => op.Greater(x, op.scalarLike(x, 0))

/** `x > 0 ? pass · dy : negative branch`, the shape of the whole Relu family. */
function rectifier(pass: number, negative: GradientRule): GradientRule {
  return context => {
    const { op, node, dy } = context
    return [op.Where(positive(op, node.input(0)), scale(op, dy, pass), negative(context)[0]!)]
  }
}

const Relu: GradientRule = ({ op, node, dy }) => [gate(op, positive(op, node.output(0)), dy)]

const LeakyRelu: GradientRule = ({ op, node, dy }) => {
  const alpha = node.float('alpha', 0.01)
  // x and y have the same sign unless alpha is negative.
  const tested = alpha >= 0 ? node.output(0) : node.input(0)
  return [op.Where(positive(op, tested), dy, scale(op, dy, alpha))]
}

const PRelu: GradientRule = context => {
  const { op, node, dy } = context
  const [x, slope] = [node.input(0), node.input(1)]
  const right = positive(op, x)
  return [
    context.needs(0) ? op.Where(right, dy, op.Mul(dy, slope)) : null,
    context.needs(1) ? op.Where(right, op.scalarLike(x, 0), op.Mul(dy, x)) : null,
  ]
}

/** Inside the interval, bounds included, Clip is the identity: there x equals y. */
const Clip: GradientRule = context => {
  const { op, node, dy } = context
  const [x, min, max] = node.inputs
  return [
    context.needs(0) ? gate(op, op.Equal(x!, node.output(0)), dy) : null,
    context.needs(1) ? gate(op, op.Less(x!, min!), dy) : null,
    context.needs(2) ? gate(op, op.Greater(x!, max!), dy) : null,
  ]
}

const Sigmoid: GradientRule = ({ op, node, dy }) => {
  const y = node.output(0)
  // σ' = σ (1 - σ)
  return [op.Mul(dy, op.Mul(y, oneMinus(op, y)))]
}

const HardSigmoid: GradientRule = ({ op, node, dy }) => {
  const y = node.output(0)
  const inside = op.And(positive(op, y), op.Less(y, op.scalarLike(y, 1)))
  return [gate(op, inside, scale(op, dy, node.float('alpha', 0.2)))]
}

/** y = x · clip(x/6 + 1/2, 0, 1): slope 0 below -3, x/3 + 1/2 between, 1 above 3. */
const HardSwish: GradientRule = ({ op, node, dy }) => {
  const x = node.input(0)
  const middle = op.Mul(dy, shift(op, scale(op, x, 1 / 3), 0.5))
  const left = gate(op, op.Greater(x, op.scalarLike(x, -3)), middle)
  return [op.Where(op.Less(x, op.scalarLike(x, 3)), left, dy)]
}

const Softplus: GradientRule = ({ op, node, dy }) => [op.Mul(dy, op.Sigmoid(node.input(0)))]

/** y = α (eˣ - 1) below zero: slope y + α. */
const Elu = rectifier(1, ({ op, node, dy }) => [
  op.Mul(dy, shift(op, node.output(0), node.float('alpha', 1))),
])

const SELU_ALPHA = 1.67326319217681884765625
const SELU_GAMMA = 1.05070102214813232421875

const Selu: GradientRule = context => {
  const alpha = context.node.float('alpha', SELU_ALPHA)
  const gamma = context.node.float('gamma', SELU_GAMMA)
  // y = γ α (eˣ - 1) below zero: slope y + γ α
  const negative: GradientRule = ({ op, node, dy }) => [op.Mul(dy, shift(op, node.output(0), gamma * alpha))]
  return rectifier(gamma, negative)(context)
}

/** y = α (e^(x/α) - 1) below zero: slope y/α + 1. */
const Celu = rectifier(1, ({ op, node, dy }) => [
  op.Mul(dy, shift(op, scale(op, node.output(0), 1 / node.float('alpha', 1)), 1)),
])

/** y = x / (1 + |x|): slope (1 - |y|)². */
const Softsign: GradientRule = ({ op, node, dy }) => [
  op.Mul(dy, square(op, oneMinus(op, op.Abs(node.output(0))))),
]

/** y = x t with t = tanh(softplus x): slope t + x (1 - t²) σ(x). */
const Mish: GradientRule = ({ op, node, dy }) => {
  const x = node.input(0)
  const t = op.Tanh(op.Softplus(x))
  const inner = op.Mul(oneMinus(op, square(op, t)), op.Sigmoid(x))
  return [op.Mul(dy, op.Add(t, op.Mul(x, inner)))]
}

const Gelu: GradientRule = ({ op, node, dy }) => {
  const x = node.input(0)
  const derivative = node.string('approximate', 'none') === 'tanh' ? geluTanhSlope : geluSlope
  return [op.Mul(dy, derivative(op, x))]
}

/** y = x Φ(x): slope Φ(x) + x φ(x), of the standard normal distribution. */
function geluSlope(op: Builder, x: Value): Value {
  const cumulative = scale(op, shift(op, op.Erf(scale(op, x, Math.SQRT1_2)), 1), 0.5)
  const density = scale(op, op.Exp(scale(op, square(op, x), -0.5)), 1 / Math.sqrt(2 * Math.PI))
  return op.Add(cumulative, op.Mul(x, density))
}

/** y = x/2 (1 + t), t = tanh(u), u = √(2/π) (x + k x³): slope (1 + t)/2 + x/2 (1 - t²) u'. */
function geluTanhSlope(op: Builder, x: Value): Value {
  const [root, k] = [Math.sqrt(2 / Math.PI), 0.044715]
  const x2 = square(op, x)
  const t = op.Tanh(op.Mul(x, shift(op, scale(op, x2, root * k), root)))
  const du = shift(op, scale(op, x2, 3 * k * root), root)
  const tail = op.Mul(op.Mul(x, oneMinus(op, square(op, t))), du)
  return scale(op, op.Add(shift(op, t, 1), tail), 0.5)
}

const ThresholdedRelu: GradientRule = ({ op, node, dy }) => {
  const x = node.input(0)
  return [gate(op, op.Greater(x, op.scalarLike(x, node.float('alpha', 1))), dy)]
}

/** Beyond ±lambd x is only shifted. */
const Shrink: GradientRule = ({ op, node, dy }) => {
  const x = node.input(0)
  return [gate(op, op.Greater(op.Abs(x), op.scalarLike(x, node.float('lambd', 0.5))), dy)]
}

export const activationRules: RuleTable = {
  Relu: rule(Relu),
  LeakyRelu: rule(LeakyRelu),
  PRelu: broadcasting(PRelu),
  Clip: broadcasting(Clip),
  Sigmoid: rule(Sigmoid),
  HardSigmoid: rule(HardSigmoid),
  HardSwish: rule(HardSwish),
  Softplus: rule(Softplus),
  Elu: rule(Elu),
  Selu: rule(Selu),
  Celu: rule(Celu),
  Softsign: rule(Softsign),
  Mish: rule(Mish),
  Gelu: rule(Gelu),
  ThresholdedRelu: rule(ThresholdedRelu),
  Shrink: rule(Shrink),
}
