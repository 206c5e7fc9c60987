/** Weight gradients of convolutions for the CPU provider. */

import type { Builder } from '../../../ir/builder.ts'
import type { Value } from '../../../ir/value.ts'
import type { Lowering } from '../../../autodiff/lowering/index.ts'
import { sliceSpatial } from '../../../ops/spatial.ts'
import { reachOf, windowAttributes, windowOf, type Window } from '../../../ops/window.ts'
import { sizeOf } from '../../../tensor/shape.ts'
import { tapKernels } from './constants.ts'
import { depthwiseWeightGradByRows, isRowWindow } from './depthwise.ts'
import { isWinogradWindow, winogradShare, winogradWeightGrad } from './winograd.ts'
import { WINOGRAD_SHARE } from './convolution-input-grad.ts'

/**
 * Fewest channels on both sides for which Winograd is chosen: from here on it always won. Batch 16, 2 cores with AVX-512:
 * 64 channels at 56x56 13 against 17.3 ms, 128 at 28x28 8.8 against 16.3, 256 at 14x14 7.5 against 19, 512 at 7x7 11
 * against 31.
 */
export const WINOGRAD_CHANNELS = 16
/**
 * Up to this many positions of an image, one product over all images beats a product for each and a sum over them
 * (310-366 against 160-226 GFLOP/s); above, turning the operands costs more than it brings.
 */
export const JOINT_POSITIONS = 196

/** Picks the form by kernel, groups and shape. */
export const convWeightGradForCpu: Lowering = context => {
  const { op, node, inputs } = context
  const [x, dy] = inputs as [Value, Value]
  const dw = node.output(0).shape
  const window = windowOf(node, x.shape, dy.shape)
  const group = node.int('group', 1)
  const isDepthwise = group === x.shape[1]! && group === dy.shape[1]!
  if (isDepthwise && isRowWindow(window)) return [depthwiseWeightGradByRows(op, x, dy, window)]
  const wide = Math.min(x.shape[1]!, dy.shape[1]!) >= WINOGRAD_CHANNELS
  if (wide && isWinogradWindow(window, group) && winogradShare(window) <= WINOGRAD_SHARE) {
    return [winogradWeightGrad(op, x, dy, window)]
  }
  const columns = columnsOf(op, x, window)
  if (group > 1) return [op.Reshape(groupedProduct(op, columns, dy, group), dw)]
  return [op.Reshape(denseProduct(op, columns, dy), dw)]
}

/**
 * What each weight meets: [N, C·K, O...], a row for each channel and tap. A kernel of one tap needs a strided slice; for
 * the others, a convolution with one-hot kernels copies all taps on all threads.
 */
function columnsOf(op: Builder, x: Value, window: Window): Value {
  const [n, c] = x.shape as [number, number]
  const outputs = window.map(axis => axis.output)
  const kernel = window.map(axis => axis.kernel)
  const taps = sizeOf(kernel)
  const padded = window.some(axis => axis.begin > 0 || reachOf(axis) - axis.begin > axis.input)
  if (taps === 1 && !padded) {
    const ranges = window.map(axis => ({ start: 0, stop: reachOf(axis), step: axis.stride }))
    return op.Reshape(sliceSpatial(op, x, ranges), [n, c, sizeOf(outputs)])
  }
  const exact = window.map(axis => ({ ...axis, end: Math.max(0, reachOf(axis) - axis.begin - axis.input) }))
  // The convolution would find one output more where a whole stride is left behind the last window.
  const cut = window.map(axis => {
    const reach = reachOf(axis) - axis.begin
    return { start: 0, stop: axis.input - reach >= axis.stride ? reach : axis.input }
  })
  const body = sliceSpatial(op, x, cut)
  const images = op.Reshape(body, [n * c, 1, ...body.shape.slice(2)])
  const shape = [n * c, taps, ...outputs]
  const columns = op.one('Conv', [images, tapKernels(op, kernel)], { shape }, windowAttributes(exact))
  return op.Reshape(columns, [n, c * taps, sizeOf(outputs)])
}

/** Σ over n and positions of dy[n, m, O] · columns[n, (c, k), O]: [M, C·K]. */
function denseProduct(op: Builder, columns: Value, dy: Value): Value {
  const [n, rows, positions] = columns.shape as [number, number, number]
  const m = dy.shape[1]!
  const gradients = op.Reshape(dy, [n, m, positions])
  if (positions <= JOINT_POSITIONS) {
    const joint = (x: Value, channels: number) =>
      op.Reshape(op.Transpose(x, [1, 0, 2]), [channels, n * positions])
    return op.Gemm(joint(gradients, m), joint(columns, rows), { transB: true })
  }
  // The larger side is the first operand: the product then has longer rows to sum over.
  if (rows > m) {
    const product = op.MatMul(columns, op.Transpose(gradients, [0, 2, 1]))
    return op.Transpose(op.ReduceSum(product, [0], false), [1, 0])
  }
  return op.ReduceSum(op.MatMul(gradients, op.Transpose(columns, [0, 2, 1])), [0], false)
}

/** The same within each group: [G, M/G, C/G·K]. */
function groupedProduct(op: Builder, columns: Value, dy: Value, group: number): Value {
  const [n, rows, positions] = columns.shape as [number, number, number]
  const gradients = op.Reshape(dy, [n, group, dy.shape[1]! / group, positions])
  const grouped = op.Reshape(columns, [n, group, rows / group, positions])
  return op.ReduceSum(op.MatMul(gradients, op.Transpose(grouped, [0, 1, 3, 2])), [0], false)
}
