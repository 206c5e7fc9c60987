/** DeformConv (ONNX: DeformConv 22): a convolution whose taps are moved by offsets, between elements of its input. */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import { sizeOf } from '../../tensor/shape.ts'
import { Tensor } from '../../tensor/tensor.ts'
import type { Expansion } from '../expansion.ts'
import { windowOver, type Window } from '../window.ts'
import { linearTapsInZeros, samples } from './sampling.ts'

/**
 * x [N, C, H, W], w [M, C/group, kH, kW], offset [N, G·K·2, oH, oW] (y before x), bias [M], mask [N, G·K, oH, oW], with K taps
 * and G offset groups: the moved elements as a matrix of columns, times the weight.
 */
export const deformConv: Expansion = (op, node) => {
  const [x, w, offset] = [node.input(0), node.input(1), node.input(2)]
  const [bias, mask] = [node.inputs[3], node.inputs[4]]
  const [n, c, h, width] = x.shape as [number, number, number, number]
  const [m, depth, kh, kw] = w.shape as [number, number, number, number]
  const [oh, ow] = offset.shape.slice(2) as [number, number]
  const [group, groups] = [node.int('group', 1), node.int('offset_group', 1)]
  const [k, places, own] = [kh * kw, oh * ow, c / groups]
  const window = windowOver(node, x.shape, [kh, kw])
  const offsets = op.Split(op.Reshape(offset, [n, groups, k, 2, places]), [1, 1], 3)
  const axes = [h, width].map((size, axis) => {
    const moved = op.Reshape(offsets[axis]!, [n, groups, k, places])
    return { size, taps: linearTapsInZeros(op, op.Add(moved, rest(op, x, window, axis)), size) }
  })
  const maps = op.Reshape(x, [n * groups, own, h * width])
  const rows = op.Reshape(op.Transpose(maps, [0, 2, 1]), [n * groups * h * width, own])
  const images = Array.from({ length: n * groups }, (_, i) => BigInt(i * h * width))
  const base = op.constant(Tensor.of('int64', [n, groups, 1, 1], images))
  const taken = samples(op, rows, base, axes).reduce(op.Add)
  const masked = mask ? op.Mul(taken, op.Reshape(mask, [n, groups, k, places, 1])) : taken

  // [N, G, K, places, C/G] -> [N, group, (C/group)·K, places]
  const columns = op.Reshape(op.Transpose(masked, [0, 1, 4, 2, 3]), [n, group, depth * k, places])
  const product = op.MatMul(op.Reshape(w, [1, group, m / group, depth * k]), columns)
  const y = op.Reshape(product, [n, m, oh, ow])
  return bias ? op.Add(y, op.Reshape(bias, [m, 1, 1])) : y
}

/** Where the taps along an axis are without offsets: [K, places]. */
function rest(op: Builder, like: Value, window: Window, axis: number): Value {
  const kernel = window.map(({ kernel: size }) => size)
  const output = window.map(({ output: size }) => size)
  const { stride, dilation, begin } = window[axis]!
  const inner = axis === 0 ? [kernel[1]!, output[1]!] : [1, 1]
  const values = Array.from({ length: sizeOf(kernel) }, (_, k) => {
    const tap = Math.floor(k / inner[0]!) % kernel[axis]!
    return Array.from({ length: sizeOf(output) }, (_, o) => {
      const place = Math.floor(o / inner[1]!) % output[axis]!
      return place * stride + tap * dilation - begin
    })
  })
  return op.constant(Tensor.of(like.dtype, [sizeOf(kernel), sizeOf(output)], values.flat()))
}
