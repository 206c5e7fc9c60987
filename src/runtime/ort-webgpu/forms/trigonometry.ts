/**
 * Sine and cosine: WGSL allows its own an error of 2^-11, and graphics hardware uses that. Here |x| is brought into
 * [-π/2, π/2], where a polynomial is good to the last digits of a float32; beyond |x| = 10^4 digits are lost.
 */

import type { Builder } from '../../../ir/builder.ts'
import type { Value } from '../../../ir/value.ts'
import type { NodeForm, NodeForms } from '../../../passes/index.ts'

/** π in three parts; the first two have so few digits that their products with integers up to 2^12 are exact. */
const PI_PARTS = [3.140625, 9.67502593994140625e-4, 1.509957990978376432e-7]

/** Of sin(r) / r in r², |r| <= π/2; Taylor's to the eleventh power, 6e-8 off at the ends. */
const SINE = [1, -1 / 6, 1 / 120, -1 / 5040, 1 / 362880, -1 / 39916800]

/** sin(x) = (−1)^n sin(x − n·π) with n = round(x / π). */
const sine: NodeForm = (op, node) => {
  const x = node.input(0)
  if (x.dtype !== 'float32') return null
  const n = op.Floor(op.Add(scaled(op, x, 1 / Math.PI), op.scalarLike(x, 0.5)))
  return alternating(op, n, sineOf(op, reduced(op, x, n)))
}

/** cos(x) = sin(x + π/2) = (−1)^n sin(x − (n − 1/2)·π) with n = round(x / π + 1/2). */
const cosine: NodeForm = (op, node) => {
  const x = node.input(0)
  if (x.dtype !== 'float32') return null
  const n = op.Floor(op.Add(scaled(op, x, 1 / Math.PI), op.scalarLike(x, 1)))
  return alternating(op, n, sineOf(op, reduced(op, x, op.Sub(n, op.scalarLike(x, 0.5)))))
}

function scaled(op: Builder, x: Value, factor: number): Value {
  return op.Mul(x, op.scalarLike(x, factor))
}

/** x − turns·π, part by part. */
function reduced(op: Builder, x: Value, turns: Value): Value {
  return PI_PARTS.reduce((rest, part) => op.Sub(rest, scaled(op, turns, part)), x)
}

function sineOf(op: Builder, r: Value): Value {
  const square = op.Mul(r, r)
  const [last, ...rest] = SINE.toReversed()
  const polynomial = rest.reduce<Value>(
    (sum, coefficient) => op.Add(op.Mul(sum, square), op.scalarLike(r, coefficient)),
    op.scalarLike(r, last!),
  )
  return op.Mul(r, polynomial)
}

/** y for even n, −y for odd n. */
function alternating(op: Builder, n: Value, y: Value): Value {
  const odd = op.Sub(n, scaled(op, op.Floor(scaled(op, n, 0.5)), 2))
  return op.Mul(y, op.Sub(op.scalarLike(y, 1), scaled(op, odd, 2)))
}

export const trigonometryForms: NodeForms = { Sin: [sine], Cos: [cosine] }
