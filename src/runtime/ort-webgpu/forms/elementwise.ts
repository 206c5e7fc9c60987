/** Element-wise operators without a WebGPU kernel, written with those that have one. */

import { float } from '../../../ir/attribute.ts'
import type { Builder } from '../../../ir/builder.ts'
import type { Value } from '../../../ir/value.ts'
import type { NodeForm, NodeForms } from '../../../passes/index.ts'

/** ((a + b) + c) + ... */
const sum: NodeForm = (op, node) => node.inputs.map((_, i) => node.input(i)).reduce(op.Add)

const mean: NodeForm = (op, node) => {
  const total = node.inputs.map((_, i) => node.input(i)).reduce(op.Add)
  return op.Div(total, op.scalarLike(total, node.inputs.length))
}

/** x itself where it is neither positive nor negative: zero, or not a number. */
const sign: NodeForm = (op, node) => {
  const x = node.input(0)
  const [zero, one, minusOne] = [0, 1, -1].map(value => op.scalarLike(x, value)) as [Value, Value, Value]
  return op.Where(op.Greater(x, zero), one, op.Where(op.Less(x, zero), minusOne, x))
}

/** With f = floor(x) and d = x − f: f below a half, f + 1 above, the even one of them at the half. */
const round: NodeForm = (op, node) => {
  const x = node.input(0)
  const [half, one, two] = [0.5, 1, 2].map(value => op.scalarLike(x, value)) as [Value, Value, Value]
  const below = op.Floor(x)
  const rest = op.Sub(x, below)
  const odd = op.Sub(below, op.Mul(op.Floor(op.Mul(below, half)), two))
  const above = op.Add(below, one)
  return op.Where(op.Less(rest, half), below, op.Where(op.Greater(rest, half), above, op.Add(below, odd)))
}

/** ¬(¬a ∧ ¬b) */
const or: NodeForm = (op, node) => op.Not(op.And(op.Not(node.input(0)), op.Not(node.input(1))))

const xor: NodeForm = (op, node) => op.Not(equalTruth(op, node.input(0), node.input(1)))

/** The kernel of Equal knows numbers only. */
const equal: NodeForm = (op, node) =>
  node.input(0).dtype === 'bool' ? equalTruth(op, node.input(0), node.input(1)) : null

function equalTruth(op: Builder, a: Value, b: Value): Value {
  return op.Equal(op.Cast(a, 'int32'), op.Cast(b, 'int32'))
}

/** fmod: |a| − ⌊|a| / |b|⌋ · |b| with the sign of a. */
const floatMod: NodeForm = (op, node) => {
  const a = node.input(0)
  if (a.dtype !== 'float32') return null
  const [size, b] = [op.Abs(a), op.Abs(node.input(1))]
  const rest = op.Sub(size, op.Mul(op.Floor(op.Div(size, b)), b))
  return op.Where(op.Less(a, op.scalarLike(a, 0)), op.Neg(rest), rest)
}

const SELU_ALPHA = 1.67326319217681884765625
const SELU_GAMMA = 1.05070102214813232421875

/** γ · Elu(x) with α inside. */
const selu: NodeForm = (op, node) => {
  const y = elu(op, node.input(0), node.float('alpha', SELU_ALPHA))
  return op.Mul(y, op.scalarLike(y, node.float('gamma', SELU_GAMMA)))
}

/** α · Elu(x / α) */
const celu: NodeForm = (op, node) => {
  const x = node.input(0)
  const alpha = op.scalarLike(x, node.float('alpha', 1))
  return op.Mul(elu(op, op.Div(x, alpha), 1), alpha)
}

function elu(op: Builder, x: Value, alpha: number): Value {
  return op.one('Elu', [x], { shape: x.shape }, { alpha: float(alpha) })
}

/** x / (1 + |x|) */
const softsign: NodeForm = (op, node) => {
  const x = node.input(0)
  return op.Div(x, op.Add(op.Abs(x), op.scalarLike(x, 1)))
}

/** The second operand gives only its element type. */
const castLike: NodeForm = (op, node) => op.Cast(node.input(0), node.output(0).dtype)

export const elementwiseForms: NodeForms = {
  Sum: [sum],
  Mean: [mean],
  Sign: [sign],
  Round: [round],
  Or: [or],
  Xor: [xor],
  Equal: [equal],
  Mod: [floatMod],
  Selu: [selu],
  Celu: [celu],
  Softsign: [softsign],
  CastLike: [castLike],
}
