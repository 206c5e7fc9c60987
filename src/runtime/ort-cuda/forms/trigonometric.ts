/** Tan, and the arc functions, which come from one arc tangent. */

import type { Builder } from '../../../ir/builder.ts'
import type { Value } from '../../../ir/value.ts'
import type { NodeForms } from '../../../passes/index.ts'
import { from, polynomial, scaled, shifted, signed, unary } from './elementwise.ts'

/** tan(π/8) and tan(3π/8): the ends of the three ranges of an arc tangent. */
const [LOW, HIGH] = [Math.SQRT2 - 1, Math.SQRT2 + 1]

/** (atan √z)/√z on |√z| <= tan(π/8), to the precision of float32 (Cephes, atanf). */
const ARC_TANGENT = [1, -3.33329491539e-1, 1.99777106478e-1, -1.38776856032e-1, 8.05374449538e-2]

/**
 * atan |x| = π/2 − atan(1/|x|) above tan(3π/8), π/4 + atan((|x|−1)/(|x|+1)) above tan(π/8); what is left is small enough for
 * the polynomial.
 */
function arcTangent(op: Builder, x: Value): Value {
  const a = op.Abs(x)
  const is = (bound: number) => op.Greater(a, op.scalarLike(a, bound))
  const choose = (large: Value, middle: Value, small: Value) =>
    op.Where(is(HIGH), large, op.Where(is(LOW), middle, small))
  const rest = choose(op.Neg(op.Reciprocal(a)), op.Div(shifted(op, a, -1), shifted(op, a, 1)), a)
  const base = choose(
    ...([Math.PI / 2, Math.PI / 4, 0].map(v => op.scalarLike(a, v)) as [Value, Value, Value]),
  )
  const angle = op.Add(base, op.Mul(rest, polynomial(op, op.Mul(rest, rest), ARC_TANGENT)))
  return signed(op, angle, x)
}

export const trigonometricForms: NodeForms = {
  Tan: [
    unary((op, x) => op.Div(op.one('Sin', [x], { shape: x.shape }), op.one('Cos', [x], { shape: x.shape }))),
  ],
  Atan: [unary(arcTangent)],
  // x / √((1−x)(1+x)) is infinite at the ends, where the angle is π/2, and undefined beyond them, as it should be.
  Asin: [
    unary((op, x) => {
      const cosine = op.Sqrt(op.Mul(from(op, 1, x), shifted(op, x, 1)))
      return arcTangent(op, op.Div(x, cosine))
    }),
  ],
  // acos x = 2 atan √((1−x)/(1+x)): keeps its digits at x = 1, where the angle vanishes.
  Acos: [unary((op, x) => scaled(op, arcTangent(op, op.Sqrt(op.Div(from(op, 1, x), shifted(op, x, 1)))), 2))],
}
