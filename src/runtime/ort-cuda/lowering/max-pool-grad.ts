/** The gradient of max pooling for GPUs: dy goes where the indices of the forward node point, in rounds without collisions. */

import {
  indicesOf,
  maxPoolGradByComparison,
  maxPoolGradByIndices,
  summable,
} from '../../../autodiff/lowering/pooling.ts'
import type { Lowering } from '../../../autodiff/lowering/index.ts'
import type { Value } from '../../../ir/value.ts'
import { sliceSpatial } from '../../../ops/spatial.ts'
import { windowOf, type WindowAxis } from '../../../ops/window.ts'
import { sizeOf } from '../../../tensor/shape.ts'

/** As many as windows of 3x3 have that move by one. */
const MOST_ROUNDS = 9

/** Up to this many elements of a window, comparing each of them costs less than a form that is worth its atomics. */
const COMPARED = 25

export const maxPoolGradForCuda: Lowering = context => {
  const { node, inputs } = context
  const [dy, x] = inputs as [Value, Value]
  const rounds = sizeOf(windowOf(node, x.shape, dy.shape).map(roundsOf))
  if (rounds <= MOST_ROUNDS) return maxPoolGradInRounds(context)
  const taps = sizeOf(node.ints('kernel_shape', []))
  return taps <= COMPARED ? maxPoolGradByComparison(context) : maxPoolGradByIndices(context)
}

/**
 * dx.flat[indices[o]] += dy[o]. ONNX Runtime adds by atomics, whose order would change the last digits from run to run where
 * windows overlap: so each round takes windows that do not, every third of 3x3 that move by one. Within a round no two
 * additions meet, and the rounds have an order.
 */
export const maxPoolGradInRounds: Lowering = context => {
  const { op, node, inputs } = context
  const [dy, x] = inputs as [Value, Value]
  const window = windowOf(node, x.shape, dy.shape)
  const indices = indicesOf(context)
  const counts = window.map(roundsOf)
  const gradients = summable(op, dy)
  let dx = op.full([sizeOf(x.shape)], 0, gradients.dtype)
  for (let round = 0; round < sizeOf(counts); round++) {
    const ranges = window.map(({ output }, i) => {
      const start = Math.floor(round / sizeOf(counts.slice(i + 1))) % counts[i]!
      return { start, stop: output, step: counts[i]! }
    })
    const [share, places] = [gradients, indices].map(value => {
      const some = sliceSpatial(op, value, ranges)
      return op.Reshape(some, [sizeOf(some.shape)])
    }) as [Value, Value]
    dx = op.ScatterElements(dx, places, share, 0, 'add')
  }
  return [op.Cast(op.Reshape(dx, node.output(0).shape), x.dtype)]
}

/** Along an axis, how many windows begin before the first one ends. */
function roundsOf({ kernel, dilation, stride, output }: WindowAxis): number {
  return Math.min(output, Math.ceil(((kernel - 1) * dilation + 1) / stride))
}
