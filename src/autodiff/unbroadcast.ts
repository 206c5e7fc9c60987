/** The transpose of broadcasting: a gradient of the broadcast shape, summed to the shape of the operand. */

import type { Builder } from '../ir/builder.ts'
import type { Value } from '../ir/value.ts'
import { formatShape, type Shape } from '../tensor/shape.ts'
import { invariant } from '../util/errors.ts'

/** Sums `gradient` over the axes along which a tensor of `shape` was repeated. One ReduceSum, at most one Reshape. */
export function sumTo(op: Builder, gradient: Value, shape: Shape): Value {
  const extra = gradient.rank - shape.length
  const fits = extra >= 0 && shape.every((dim, i) => dim === 1 || dim === gradient.shape[i + extra])
  invariant(fits, `gradient ${gradient.toString()} cannot be summed to ${formatShape(shape)}`)
  const repeated = gradient.shape.flatMap((dim, i) => {
    const own = i < extra ? 1 : shape[i - extra]!
    return dim === own ? [] : [i]
  })
  // Dims are kept where that gives the wanted shape at once; a Reshape of leading ones is free of data movement.
  const sum = repeated.length > 0 ? op.ReduceSum(gradient, repeated, extra === 0) : gradient
  return op.Reshape(sum, shape)
}
