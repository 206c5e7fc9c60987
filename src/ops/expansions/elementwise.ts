/** Element-wise operators that few engines have. */

import type { Expansion } from '../expansion.ts'

/** x moved towards zero by `bias` where |x| exceeds `lambd`, else zero. */
export const shrink: Expansion = (op, node) => {
  const x = node.input(0)
  const [low, high, bias, zero] = [-1, 1]
    .map(sign => sign * node.float('lambd', 0.5))
    .concat(node.float('bias', 0), 0)
    .map(value => op.scalarLike(x, value))
  const negative = op.Where(op.Less(x, low!), op.Add(x, bias!), zero!)
  return op.Where(op.Greater(x, high!), op.Sub(x, bias!), negative)
}
