/** Later, at no cost, on the CPU provider. */

import { firstOf } from '../../../autodiff/lowering/after.ts'
import type { Lowering } from '../../../autodiff/lowering/index.ts'
import type { Value } from '../../../ir/value.ts'

/**
 * A Reshape, which moves nothing, to the shape that x has, plus zero times an element of the signal (integers have no
 * infinity, so it is zero whatever the element).
 */
export const afterForCpu: Lowering = ({ op, inputs }) => {
  const [x, signal] = inputs as [Value, Value]
  const zero = op.Mul(op.Cast(firstOf(op, signal), 'int64'), op.int64s([0]))
  const shape = op.Add(op.int64s(x.shape), zero)
  return [op.one('Reshape', [x, shape], { shape: x.shape })]
}
