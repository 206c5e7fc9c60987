/** Lowerings of After to standard operators: the dependence must be one that no optimizer sees through. */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import type { Lowering } from './lower.ts'

/** A choice between x and x: one pass over memory, and no number of the device is needed on the host. */
export const afterByChoice: Lowering = ({ op, inputs }) => {
  const [x, signal] = inputs as [Value, Value]
  const first = firstOf(op, signal)
  return [op.Where(op.Greater(first, op.scalarLike(first, 0)), x, x)]
}

/** The signal's first element, of shape [1]. */
export function firstOf(op: Builder, signal: Value): Value {
  const flat = op.Reshape(signal, [signal.shape.reduce((product, dim) => product * dim, 1)])
  return op.Slice(flat, [0], [1], [0])
}
