/** Hyperbolic functions and their inverses, by Exp and Log, with care for the digits near zero and for large arguments. */

import type { Builder } from '../../../ir/builder.ts'
import type { Value } from '../../../ir/value.ts'
import type { NodeForms } from '../../../passes/index.ts'
import { from, polynomial, scaled, shifted, signed, unary } from './elementwise.ts'

/** (sinh √z)/√z for |√z| <= 1: the Taylor series, to 2e-10. */
const SINH_SERIES = [1, 1 / 6, 1 / 120, 1 / 5040, 1 / 362880]

/** From here on x² + 1 is x² in float32, and x² still far from overflow. */
const LARGE = 8192

/** From here on 1 + x is x in float32. */
const WHOLE = 2 ** 25

/** eˣ / 2 as a product that overflows only where the half does. */
function halfExp(op: Builder, x: Value): Value {
  const root = op.Exp(scaled(op, x, 0.5))
  return op.Mul(scaled(op, root, 0.5), root)
}

/**
 * log(1 + x): with w = 1 + x as it was rounded, log(w) · x/(w − 1) takes the rounding back (Kahan); where w is 1, x itself.
 */
function logOfOnePlus(op: Builder, x: Value): Value {
  const bounded = op.Min(x, op.scalarLike(x, WHOLE))
  const w = shifted(op, bounded, 1)
  const rounded = shifted(op, w, -1)
  const isOne = op.Equal(rounded, op.scalarLike(x, 0))
  const quotient = op.Div(bounded, op.Where(isOne, op.scalarLike(x, 1), rounded))
  const near = op.Where(isOne, bounded, op.Mul(op.Log(w), quotient))
  return op.Where(op.Greater(x, op.scalarLike(x, WHOLE)), op.Log(x), near)
}

/** `near` of x where it is at most LARGE, and log(2x) above. */
function orLogOfTwice(op: Builder, x: Value, near: (x: Value) => Value): Value {
  const large = op.scalarLike(x, LARGE)
  return op.Where(op.Greater(x, large), shifted(op, op.Log(x), Math.LN2), near(op.Min(x, large)))
}

export const hyperbolicForms: NodeForms = {
  Cosh: [unary((op, x) => op.Add(halfExp(op, x), halfExp(op, op.Neg(x))))],
  Sinh: [
    unary((op, x) => {
      const one = op.scalarLike(x, 1)
      // The series must not overflow where it is not taken.
      const small = op.Max(op.Min(x, one), op.Neg(one))
      const series = op.Mul(small, polynomial(op, op.Mul(small, small), SINH_SERIES))
      const difference = op.Sub(halfExp(op, x), halfExp(op, op.Neg(x)))
      return op.Where(op.Greater(op.Abs(x), one), difference, series)
    }),
  ],
  // asinh |x| = log(1 + |x| + x²/(1 + √(x² + 1))).
  Asinh: [
    unary((op, x) => {
      const magnitude = orLogOfTwice(op, op.Abs(x), a => {
        const square = op.Mul(a, a)
        const root = op.Sqrt(shifted(op, square, 1))
        return logOfOnePlus(op, op.Add(a, op.Div(square, shifted(op, root, 1))))
      })
      return signed(op, magnitude, x)
    }),
  ],
  // acosh x = log(1 + t + √t·√(t + 2)) with t = x − 1, which is exact near 1.
  Acosh: [
    unary((op, x) =>
      orLogOfTwice(op, x, a => {
        const t = shifted(op, a, -1)
        return logOfOnePlus(op, op.Add(t, op.Mul(op.Sqrt(t), op.Sqrt(shifted(op, t, 2)))))
      }),
    ),
  ],
  // atanh |x| = log(1 + 2|x|/(1 − |x|)) / 2.
  Atanh: [
    unary((op, x) => {
      const a = op.Abs(x)
      const ratio = op.Div(scaled(op, a, 2), from(op, 1, a))
      return signed(op, scaled(op, logOfOnePlus(op, ratio), 0.5), x)
    }),
  ],
}
