/** The activation functions of recurrent cells (ONNX: LSTM-22, attribute `activations`), with their slopes. */

import { float } from '../ir/attribute.ts'
import type { Attributes, Builder } from '../ir/builder.ts'
import type { Value } from '../ir/value.ts'

interface Parameters {
  readonly alpha: number
  readonly beta: number
}

interface CellFunction {
  /** The numbers of `activation_alpha` and `activation_beta` that it takes, by their defaults. */
  readonly alpha?: number
  readonly beta?: number
  readonly value: (op: Builder, x: Value, parameters: Parameters) => Value
  /** The derivative at x, where y is the function's value. */
  readonly slope: (op: Builder, x: Value, y: Value, parameters: Parameters) => Value
}

/** An activation function with its parameters. */
export interface CellActivation {
  value(op: Builder, x: Value): Value
  slope(op: Builder, x: Value, y: Value): Value
}

const operator =
  (opType: string, attributes: (parameters: Parameters) => Attributes = () => ({})): CellFunction['value'] =>
  (op, x, parameters) =>
    op.one(opType, [x], { shape: x.shape }, attributes(parameters))

const withAlpha = ({ alpha }: Parameters): Attributes => ({ alpha: float(alpha) })
const withBoth = ({ alpha, beta }: Parameters): Attributes => ({ alpha: float(alpha), beta: float(beta) })
const times = (op: Builder, x: Value, k: number) => op.Mul(x, op.scalarLike(x, k))
const plus = (op: Builder, x: Value, k: number) => op.Add(x, op.scalarLike(x, k))
const above = (op: Builder, x: Value, bound: number) => op.Greater(x, op.scalarLike(x, bound))
const choose = (op: Builder, condition: Value, x: Value, yes: number, no: number) =>
  op.Where(condition, op.scalarLike(x, yes), op.scalarLike(x, no))
const constant = (op: Builder, x: Value, k: number) => op.full(x.shape, k, x.dtype)

/** Lower-case name -> function; names are compared without case, as ONNX Runtime does. */
const CELL_FUNCTIONS: Readonly<Record<string, CellFunction>> = {
  sigmoid: {
    value: (op, x) => op.Sigmoid(x),
    slope: (op, _, y) => op.Mul(y, op.Sub(op.scalarLike(y, 1), y)),
  },
  tanh: {
    value: (op, x) => op.Tanh(x),
    slope: (op, _, y) => op.Sub(op.scalarLike(y, 1), op.Mul(y, y)),
  },
  relu: {
    value: (op, x) => op.Relu(x),
    slope: (op, _, y) => choose(op, above(op, y, 0), y, 1, 0),
  },
  affine: {
    alpha: 1,
    beta: 0,
    value: (op, x, { alpha, beta }) => plus(op, times(op, x, alpha), beta),
    slope: (op, x, _, { alpha }) => constant(op, x, alpha),
  },
  leakyrelu: {
    alpha: 0.01,
    value: operator('LeakyRelu', withAlpha),
    slope: (op, x, _, { alpha }) => choose(op, above(op, x, 0), x, 1, alpha),
  },
  thresholdedrelu: {
    alpha: 1,
    value: operator('ThresholdedRelu', withAlpha),
    slope: (op, x, _, { alpha }) => choose(op, above(op, x, alpha), x, 1, 0),
  },
  // α tanh(β x): slope α β (1 − (y/α)²)
  scaledtanh: {
    alpha: 1,
    beta: 1,
    value: (op, x, { alpha, beta }) => times(op, op.Tanh(times(op, x, beta)), alpha),
    slope: (op, _, y, { alpha, beta }) => plus(op, times(op, op.Mul(y, y), -beta / alpha), alpha * beta),
  },
  hardsigmoid: {
    alpha: 0.2,
    beta: 0.5,
    value: operator('HardSigmoid', withBoth),
    slope: (op, _, y, { alpha }) =>
      choose(op, op.And(above(op, y, 0), op.Less(y, op.scalarLike(y, 1))), y, alpha, 0),
  },
  // α (eˣ − 1) below zero: slope y + α
  elu: {
    alpha: 1,
    value: operator('Elu', withAlpha),
    slope: (op, x, y, { alpha }) => op.Where(above(op, x, 0), op.scalarLike(x, 1), plus(op, y, alpha)),
  },
  // x / (1 + |x|): slope (1 − |y|)²
  softsign: {
    value: operator('Softsign'),
    slope: (op, _, y) => {
      const rest = op.Sub(op.scalarLike(y, 1), op.Abs(y))
      return op.Mul(rest, rest)
    },
  },
  softplus: {
    value: (op, x) => op.Softplus(x),
    slope: (op, x) => op.Sigmoid(x),
  },
}

/**
 * The functions of a node by name. `alphas` and `betas` are consumed in the order of the functions by those that take
 * one; who finds none left has its default. A name that is not in the table gives null.
 */
export function cellActivations(
  names: readonly string[],
  alphas: readonly number[],
  betas: readonly number[],
): (CellActivation | null)[] {
  const [alpha, beta] = [alphas.values(), betas.values()]
  const next = (numbers: Iterator<number, undefined>, fallback: number | undefined) => {
    if (fallback === undefined) return 0
    const found = numbers.next()
    return found.done ? fallback : found.value
  }
  return names.map(name => {
    const known = CELL_FUNCTIONS[name.toLowerCase()]
    if (!known) return null
    const parameters = { alpha: next(alpha, known.alpha), beta: next(beta, known.beta) }
    return {
      value: (op, x) => known.value(op, x, parameters),
      slope: (op, x, y) => known.slope(op, x, y, parameters),
    }
  })
}
