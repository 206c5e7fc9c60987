/** Gradients of reductions. `dy` and `y` are first given the reduced axes back, as ones. */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import { normalizeAxis, sizeOf } from '../../tensor/shape.ts'
import { rule, type GradientRule, type RuleEntry, type RuleTable } from '../rule.ts'
import { gate, keepShape, range, scale, sign } from './common.ts'

interface Reduced {
  readonly op: Builder
  readonly x: Value
  /** The output, with the reduced axes as ones. */
  readonly y: Value
  /** Its gradient, of the same shape. */
  readonly dy: Value
  readonly axes: readonly number[]
  /** How many elements of x make one of y. */
  readonly count: number
}

/** A rule for a reduction, from a gradient that broadcasts to x. */
function reduction(gradient: (reduced: Reduced) => Value): RuleEntry {
  const reduce: GradientRule = context => {
    const { op, node } = context
    const x = node.input(0)
    const none = node.inputs.slice(1).map(() => null)
    const given = node.inputs[1] ? context.constant(1) : []
    // Without axes all are reduced, or none if the attribute says so: then every element is a group of its own.
    const all = node.int('noop_with_empty_axes', 0) === 0 ? range(x.rank) : []
    const axes = given.length === 0 ? all : given.map(axis => normalizeAxis(axis, x.rank, node.label))
    const kept = keepShape(x.shape, axes)
    const y = node.output(0)
    const dx = gradient({
      op,
      x,
      // Emitted only by rules that read it.
      get y() {
        return op.Reshape(y, kept)
      },
      dy: op.Reshape(context.dy, kept),
      axes,
      count: sizeOf(x.shape) / sizeOf(kept),
    })
    return [op.Expand(dx, x.shape), ...none]
  }
  return rule(reduce)
}

/** Max and Min: elements that tie share the gradient evenly, as PyTorch's amax has it. */
const extremum = reduction(({ op, x, y, dy, axes }) => {
  const chosen = op.Cast(op.Equal(x, y), x.dtype)
  return op.Mul(chosen, op.Div(dy, op.ReduceSum(chosen, axes)))
})

/**
 * The product of the other elements. With p, the product of what is not zero: p / x where there are no zeros, p at the only
 * zero, and 0 elsewhere.
 */
const product = reduction(({ op, x, dy, axes }) => {
  const zero = op.Equal(x, op.scalarLike(x, 0))
  const isZero = op.Cast(zero, x.dtype)
  const nonzero = op.Where(zero, op.scalarLike(x, 1), x)
  const others = op.Div(op.Mul(dy, op.ReduceProd(nonzero, axes)), nonzero)
  return gate(op, op.Equal(op.ReduceSum(isZero, axes), isZero), others)
})

export const reductionRules: RuleTable = {
  ReduceSum: reduction(({ dy }) => dy),
  ReduceMean: reduction(({ op, dy, count }) => scale(op, dy, 1 / count)),
  ReduceMax: extremum,
  ReduceMin: extremum,
  ReduceProd: product,
  ReduceSumSquare: reduction(({ op, x, dy }) => op.Mul(x, scale(op, dy, 2))),
  ReduceL1: reduction(({ op, x, dy }) => op.Mul(sign(op, x), dy)),
  // x / y, and 0 where the norm is 0
  ReduceL2: reduction(({ op, x, y, dy }) => {
    const nonzero = op.Greater(y, op.scalarLike(y, 0))
    return op.Mul(x, gate(op, nonzero, op.Div(dy, y)))
  }),
  // y = ln Σ x: 1 / Σ x is e^-y
  ReduceLogSum: reduction(({ op, y, dy }) => op.Mul(dy, op.Exp(op.Neg(y)))),
  // y = ln Σ eˣ: slope e^(x - y)
  ReduceLogSumExp: reduction(({ op, x, y, dy }) => op.Mul(dy, op.Exp(op.Sub(x, y)))),
}
