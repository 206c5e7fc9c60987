/** The weight gradient of a depthwise convolution. */

import type { Builder } from '../../../ir/builder.ts'
import type { Value } from '../../../ir/value.ts'
import { sliceSpatial } from '../../../ops/spatial.ts'
import { reachOf, type Window } from '../../../ops/window.ts'

/**
 * dw[c, kh, kw] = Σ over n, oh, ow of dy[n, c, oh, ow] · x[n, c, oh + kh − bh, ow + kw − bw], at stride 1.
 *
 * For each kw, dy is moved by kw − bw along its rows to the width of x; a convolution of each map of x with its moved map
 * of dy as kernel then gives all kh at once. Kernels as wide as the map need no im2col in ONNX Runtime: 4 times faster
 * than im2col, 2 to 3 times faster than slices and element-wise products.
 */
export function depthwiseWeightGradByRows(op: Builder, x: Value, dy: Value, window: Window): Value {
  const [n, c, height, width] = x.shape as [number, number, number, number]
  const [rows, columns] = window as [Window[number], Window[number]]
  const maps = n * c
  const body = sliceSpatial(op, x, [
    { start: 0, stop: reachOf(rows) - rows.begin },
    { start: 0, stop: width },
  ])
  const images = op.Reshape(body, [1, maps, body.shape[2]!, width])
  const below = Math.max(0, reachOf(rows) - rows.begin - height)
  const attributes = {
    kernel_shape: [rows.output, width],
    pads: [rows.begin, 0, below, 0],
    group: maps,
  }
  const products = Array.from({ length: columns.kernel }, (_, k) => {
    const kernel = op.Reshape(movedTo(op, dy, k - columns.begin, width), [maps, 1, rows.output, width])
    return op.one('Conv', [images, kernel], { shape: [1, maps, rows.kernel, 1] }, attributes)
  })
  const sums = op.ReduceSum(
    op.Reshape(op.Concat(products, 3), [n, c, rows.kernel, columns.kernel]),
    [0],
    false,
  )
  return op.Reshape(sums, [c, 1, rows.kernel, columns.kernel])
}

/** Whether every tap along the rows meets some input: a tap over padding alone leaves nothing to move. */
export function everyColumnMeets(window: Window): boolean {
  const { kernel, begin, input, output } = window.at(-1)!
  return Array.from({ length: kernel }, (_, k) => k - begin).every(
    by => Math.min(output, input - by) > Math.max(0, -by),
  )
}

/** Element i of each row goes to i + by, in rows of `width`; what leaves them is cut off. */
function movedTo(op: Builder, dy: Value, by: number, width: number): Value {
  const own = dy.shape[3]!
  const kept = { start: Math.max(0, -by), stop: Math.min(own, width - by) }
  const cut = sliceSpatial(op, dy, [{ start: 0, stop: dy.shape[2]! }, kept])
  const left = Math.max(0, by)
  return op.Pad(cut, [0, 0, 0, left, 0, 0, 0, width - left - cut.shape[3]!])
}
