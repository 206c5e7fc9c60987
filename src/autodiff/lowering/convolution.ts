/** Lowerings of the convolution gradients to standard operators. */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import { padSpatial, sliceSpatial } from '../../ops/spatial.ts'
import { reachOf, windowAttributes, windowOf, type Window } from '../../ops/window.ts'
import { sizeOf } from '../../tensor/shape.ts'
import type { Lowering } from './lower.ts'

/**
 * dx = ConvTranspose(dy, w): w [M, C/group, k...] reads as a transposed convolution's weight as it is. Padding stays
 * symmetric, what differs is sliced off: CUDA runs asymmetric ConvTranspose on the CPU.
 */
export const convInputGradByTranspose: Lowering = ({ op, node, inputs: [dy, w] }) => {
  const dx = node.output(0).shape
  const window = windowOf(node, dx, dy!.shape)
  const pads = window.map(axis => Math.min(axis.begin, axis.end))
  // Elements behind the transposed convolution's natural end, which no window reached: output_padding makes them zero.
  const extra = window.map((axis, i) => Math.max(0, axis.begin + axis.input + pads[i]! - reachOf(axis)))
  const sizes = window.map((axis, i) => reachOf(axis) - 2 * pads[i]! + extra[i]!)
  const attributes = {
    kernel_shape: window.map(axis => axis.kernel),
    strides: window.map(axis => axis.stride),
    dilations: window.map(axis => axis.dilation),
    pads: [...pads, ...pads],
    output_padding: extra.some(size => size > 0) ? extra : undefined,
    group: node.int('group', 1),
  }
  const full = op.one('ConvTranspose', [dy!, w!], { shape: [...dx.slice(0, 2), ...sizes] }, attributes)
  const ranges = window.map((axis, i) => {
    const start = axis.begin - pads[i]!
    return { start, stop: start + axis.input }
  })
  return [sliceSpatial(op, full, ranges)]
}

/**
 * dw by the elements that each weight meets: for every kernel offset k the strided slice x_k [N, C, O] of the padded
 * input; then dw[g, (c, k), m] = Σ over n of x_k[n, g, c, O] · dy[n, g, m, O]', one batched MatMul and a sum over n.
 */
export const convWeightGradByMatMul: Lowering = ({ op, node, inputs: [x, dy] }) => {
  const dw = node.output(0).shape
  const window = windowOf(node, x!.shape, dy!.shape)
  const group = node.int('group', 1)
  const [n, c] = x!.shape as [number, number]
  const m = dy!.shape[1]!
  const positions = sizeOf(dy!.shape.slice(2))
  const kernel = sizeOf(dw.slice(2))
  // Side by side along the first spatial axis, the slices of one channel are the rows (k, O) of the matrix.
  const columns = op.Concat(windowSlices(op, x!, window), 2)
  const matrix = op.Reshape(columns, [n, group, (c / group) * kernel, positions])
  const dyMatrix = op.Transpose(op.Reshape(dy!, [n, group, m / group, positions]), [0, 1, 3, 2])
  const products = op.Cast(op.MatMul(matrix, dyMatrix), node.output(0).dtype)
  const product = op.ReduceSum(products, [0], false)
  return [op.Reshape(op.Transpose(product, [0, 2, 1]), dw)]
}

/**
 * dw as a convolution with exchanged roles: the channels of x are the batch, its batch the input channels, dy the weight,
 * strides and dilations trade places. Groups lie side by side in the input channels:
 * x [N, G, C/G, i...] -> [C/G, G·N, i...], dy [N, M, o...] -> [M, N, o...], result [C/G, M, k...].
 */
export const convWeightGradByConv: Lowering = ({ op, node, inputs: [x, dy] }) => {
  const dw = node.output(0).shape
  const window = windowOf(node, x!.shape, dy!.shape)
  const group = node.int('group', 1)
  const [n, c] = x!.shape as [number, number]
  const spatial = x!.shape.slice(2)
  const split = op.Reshape(x!, [n, group, c / group, ...spatial])
  const turned = op.Transpose(split, [2, 1, 0, ...spatial.map((_, i) => i + 3)])
  const batchOfChannels = op.Reshape(turned, [c / group, group * n, ...spatial])
  // Every window of the exchanged convolution lies at one weight: inputs behind the last window are cut off.
  const cut = window.map(axis => ({ start: 0, stop: reachOf(axis) - axis.begin }))
  const body = sliceSpatial(op, batchOfChannels, cut)
  const weight = op.Transpose(dy!, [1, 0, ...spatial.map((_, i) => i + 2)])
  const attributes = windowAttributes(
    window.map(axis => ({
      ...axis,
      kernel: axis.output,
      stride: axis.dilation,
      dilation: axis.stride,
      end: Math.max(0, reachOf(axis) - axis.begin - axis.input),
    })),
  )
  const shape = [c / group, dw[0]!, ...dw.slice(2)]
  const found = op.one('Conv', [body, weight], { shape }, { ...attributes, group })
  return [op.Transpose(found, [1, 0, ...spatial.map((_, i) => i + 2)])]
}

/** For each kernel offset, in row-major order, what the windows read there: [N, C, o...] slices of the padded input. */
export function windowSlices(op: Builder, x: Value, window: Window, padding = 0): Value[] {
  const ends = window.map(axis => Math.max(0, reachOf(axis) - axis.begin - axis.input))
  const padded = padSpatial(
    op,
    x,
    window.map(axis => axis.begin),
    ends,
    padding,
  )
  return offsetsOf(window).map(offset =>
    sliceSpatial(
      op,
      padded,
      window.map((axis, i) => {
        const start = offset[i]! * axis.dilation
        return { start, stop: start + (axis.output - 1) * axis.stride + 1, step: axis.stride }
      }),
    ),
  )
}

/** All kernel offsets in row-major order. */
export function offsetsOf(window: Window): number[][] {
  return window.reduce<number[][]>(
    (offsets, axis) => offsets.flatMap(head => Array.from({ length: axis.kernel }, (_, k) => [...head, k])),
    [[]],
  )
}
