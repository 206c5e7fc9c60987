/** Gradients of element-wise arithmetic, with broadcasting operands where there are several. */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import { constantTensor } from '../context.ts'
import { broadcasting, rule, type GradientRule, type RuleTable } from '../rule.ts'
import { sumTo } from '../unbroadcast.ts'
import { gate, oneMinus, scale, shift, sign, square, unary } from './common.ts'

/** A one-operand rule from dy times a slope: the slope as a function of x and y. */
function slope(derivative: (op: Builder, x: Value, y: Value) => Value): GradientRule {
  return ({ op, node, dy }) => [op.Mul(dy, derivative(op, node.input(0), node.output(0)))]
}

/** Summed before its sign changes: a broadcast operand is the smaller one. */
const Sub: GradientRule = context => {
  const { op, node, dy } = context
  return [dy, context.needs(1) ? op.Neg(sumTo(op, dy, node.input(1).shape)) : null]
}

const Mul: GradientRule = context => {
  const { op, node, dy } = context
  const [a, b] = [node.input(0), node.input(1)]
  return [context.needs(0) ? op.Mul(dy, b) : null, context.needs(1) ? op.Mul(dy, a) : null]
}

const Div: GradientRule = context => {
  const { op, node, dy } = context
  const [b, y] = [node.input(1), node.output(0)]
  const da = op.Div(dy, b)
  // d(a/b)/db = -(a/b) / b
  return [da, context.needs(1) ? op.Neg(sumTo(op, op.Mul(da, y), b.shape)) : null]
}

const Pow: GradientRule = context => {
  const { op, node, dy } = context
  const [x, exponent, y] = [node.input(0), node.input(1), node.output(0)]
  // dx = dy · n x^(n-1)
  const dx = () => {
    const known = uniformElement(exponent)
    if (known === 0) return null
    if (known === 1) return dy
    if (known === 2) return op.Mul(dy, scale(op, x, 2))
    if (known === 0.5) return op.Div(scale(op, dy, 0.5), y)
    if (known !== null) {
      const power = op.Pow(x, op.scalarLike(x, known - 1))
      return op.Mul(dy, scale(op, power, known))
    }
    const n = op.Cast(exponent, x.dtype)
    const derivative = op.Mul(n, op.Pow(x, shift(op, n, -1)))
    // 0 · 0^-1 is 0 here, not NaN.
    return op.Mul(dy, gate(op, op.Not(op.Equal(n, op.scalarLike(n, 0))), derivative))
  }
  // dn = dy · y ln x, and 0 where x is 0 and n is not negative (as PyTorch has it)
  const dn = () => {
    const zero = op.scalarLike(x, 0)
    const flat = op.And(op.Equal(x, zero), op.GreaterOrEqual(exponent, op.scalarLike(exponent, 0)))
    return op.Mul(dy, op.Where(flat, zero, op.Mul(y, op.Log(x))))
  }
  return [context.needs(0) ? dx() : null, context.needs(1) ? dn() : null]
}

/** The number that all elements of a constant are; null for other values. */
function uniformElement(value: Value): number | null {
  const numbers = constantTensor(value)?.toNumbers()
  const first = numbers?.[0]
  return first !== undefined && numbers!.every(number => number === first) ? first : null
}

/** Max and Min of any number of operands; operands that tie share the gradient evenly, as in PyTorch. */
const extremum: GradientRule = context => {
  const { op, node, dy } = context
  const y = node.output(0)
  if (node.inputs.length === 1) return [dy]
  const chosen = node.inputs.map((_, i) => op.Cast(op.Equal(node.input(i), y), y.dtype))
  const share = op.Div(dy, chosen.reduce(op.Add))
  return chosen.map((mask, i) => (context.needs(i) ? op.Mul(mask, share) : null))
}

/** y = a − q b with a whole number q = (a − y) / b: db = −q dy. */
const Mod: GradientRule = context => {
  const { op, node, dy } = context
  const [a, b, y] = [node.input(0), node.input(1), node.output(0)]
  return [dy, context.needs(1) ? op.Mul(dy, op.Div(op.Sub(y, a), b)) : null]
}

const Where: GradientRule = context => {
  const { op, node, dy } = context
  const condition = node.input(0)
  const zero = op.scalarLike(dy, 0)
  return [
    null,
    context.needs(1) ? op.Where(condition, dy, zero) : null,
    context.needs(2) ? op.Where(condition, zero, dy) : null,
  ]
}

/** 1 / sqrt(1 + k x²), the shape of the inverse functions' slopes. */
const inverseRoot = (op: Builder, x: Value, k: 1 | -1) =>
  op.Reciprocal(op.Sqrt(shift(op, scale(op, square(op, x), k), 1)))

export const elementwiseRules: RuleTable = {
  Add: broadcasting(({ dy }) => [dy, dy]),
  Sub: broadcasting(Sub),
  Mul: broadcasting(Mul),
  Div: broadcasting(Div),
  Pow: broadcasting(Pow),
  Max: broadcasting(extremum),
  Min: broadcasting(extremum),
  Sum: broadcasting(({ node, dy }) => node.inputs.map(() => dy)),
  Mean: broadcasting(({ op, node, dy }) => {
    const dx = scale(op, dy, 1 / node.inputs.length)
    return node.inputs.map(() => dx)
  }),
  Mod: broadcasting(Mod),
  Where: broadcasting(Where),

  Neg: rule(({ op, dy }) => [op.Neg(dy)]),
  Abs: rule(slope((op, x) => sign(op, x))),
  Reciprocal: rule(slope((op, _, y) => op.Neg(square(op, y)))),
  Sqrt: rule(({ op, node, dy }) => [op.Div(scale(op, dy, 0.5), node.output(0))]),
  Exp: rule(slope((_op, _x, y) => y)),
  Log: rule(({ op, node, dy }) => [op.Div(dy, node.input(0))]),
  // erf' = 2/√π · exp(-x²)
  Erf: rule(slope((op, x) => scale(op, op.Exp(op.Neg(square(op, x))), 2 / Math.sqrt(Math.PI)))),
  Sin: rule(slope((op, x) => unary(op, 'Cos', x))),
  Cos: rule(slope((op, x) => op.Neg(unary(op, 'Sin', x)))),
  Tan: rule(slope((op, _, y) => shift(op, square(op, y), 1))),
  Sinh: rule(slope((op, x) => unary(op, 'Cosh', x))),
  Cosh: rule(slope((op, x) => unary(op, 'Sinh', x))),
  Tanh: rule(slope((op, _, y) => oneMinus(op, square(op, y)))),
  Asin: rule(slope((op, x) => inverseRoot(op, x, -1))),
  Acos: rule(slope((op, x) => op.Neg(inverseRoot(op, x, -1)))),
  Atan: rule(slope((op, x) => op.Reciprocal(shift(op, square(op, x), 1)))),
  Asinh: rule(slope((op, x) => inverseRoot(op, x, 1))),
  Acosh: rule(slope((op, x) => op.Reciprocal(op.Sqrt(shift(op, square(op, x), -1))))),
  Atanh: rule(slope((op, x) => op.Reciprocal(oneMinus(op, square(op, x))))),
}
