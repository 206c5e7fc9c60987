/** Poolings by a norm, and MaxUnpool. */

import { EXPANSIONS } from '../../../ops/expansions/index.ts'
import { normOf } from '../../../ops/expansions/pooling.ts'
import { poolWindow, reachOf, windowAttributes, type Window } from '../../../ops/window.ts'
import type { NodeForm, NodeForms } from '../../../passes/index.ts'
import { sizeOf } from '../../../tensor/shape.ts'
import { Tensor } from '../../../tensor/tensor.ts'

/** The sums over windows are a convolution of each map with ones. */
const lpPoolByConv: NodeForm = (op, node) => {
  const x = node.input(0)
  if (x.dtype !== 'float32') return null
  const window = poolWindow(node)
  // Windows with gaps between them may begin inside the input, which Conv does not know.
  if (window.some(axis => Math.min(axis.begin, axis.end) < 0)) return null
  const kernel = window.map(axis => axis.kernel)
  const ones = op.constant(Tensor.of('float32', [1, 1, ...kernel], new Array<number>(sizeOf(kernel)).fill(1)))
  const y = node.output(0).shape
  return normOf(op, node, powers => {
    const maps = op.Reshape(powers, [x.shape[0]! * x.shape[1]!, 1, ...x.shape.slice(2)])
    const shape = [maps.shape[0]!, 1, ...y.slice(2)]
    return op.Reshape(op.one('Conv', [maps, ones], { shape }, windowAttributes(exact(window))), y)
  })
}

/** Padding to the end of the last window, which ceil_mode may put behind what was stated. */
function exact(window: Window): Window {
  return window.map(axis => ({ ...axis, end: Math.max(axis.end, reachOf(axis) - axis.begin - axis.input) }))
}

export const poolingForms: NodeForms = {
  GlobalLpPool: [EXPANSIONS.GlobalLpPool],
  LpPool: [lpPoolByConv, EXPANSIONS.LpPool],
  MaxUnpool: [EXPANSIONS.MaxUnpool],
}
