/** What the element-wise forms share. */

import type { Builder } from '../../../ir/builder.ts'
import type { Value } from '../../../ir/value.ts'
import type { NodeForm } from '../../../passes/index.ts'

/** A form of a function of one float32 operand; other types keep their node. */
export function unary(write: (op: Builder, x: Value) => Value): NodeForm {
  return (op, node) => (node.input(0).dtype === 'float32' ? write(op, node.input(0)) : null)
}

/** x · number. */
export function scaled(op: Builder, x: Value, number: number): Value {
  return op.Mul(x, op.scalarLike(x, number))
}

/** x + number. */
export function shifted(op: Builder, x: Value, number: number): Value {
  return op.Add(x, op.scalarLike(x, number))
}

/** number − x. */
export function from(op: Builder, number: number, x: Value): Value {
  return op.Sub(op.scalarLike(x, number), x)
}

/** c0 + c1·x + c2·x² + ... by Horner's rule. */
export function polynomial(op: Builder, x: Value, coefficients: readonly number[]): Value {
  const [last, ...rest] = coefficients.toReversed()
  const [next, ...lower] = rest
  const top = shifted(op, scaled(op, x, last!), next!)
  return lower.reduce((sum, coefficient) => shifted(op, op.Mul(sum, x), coefficient), top)
}

/** The sign of x put on a value that is not negative. */
export function signed(op: Builder, magnitude: Value, x: Value): Value {
  return op.Mul(op.Sign(x), magnitude)
}
