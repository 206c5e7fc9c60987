/** RoiAlign (ONNX: RoiAlign 22; ONNX Runtime: roialign.cc). */

import type { Builder } from '../../ir/builder.ts'
import type { Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { UnsupportedError } from '../../util/errors.ts'
import type { Expansion } from '../expansion.ts'
import { channelRows, samples, type Tap } from './sampling.ts'

/** x [N, C, H, W], rois [R, 4] (x and y of two corners), their images [R] -> [R, C, output_height, output_width] */
export const roiAlign: Expansion = (op, node) => {
  const [x, rois, images] = [node.input(0), node.input(1), node.input(2)]
  const [, c, h, w] = x.shape as [number, number, number, number]
  const count = rois.shape[0]!
  const bins = [node.int('output_height', 1), node.int('output_width', 1)] as const
  const ratio = node.int('sampling_ratio', 0)
  if (ratio <= 0) {
    throw new UnsupportedError(
      `${node.label}: sampling_ratio is ${ratio}: the number of samples depends on the data, expected a positive one`,
      { cure: 'export the model with a sampling_ratio, such as 2' },
    )
  }
  const corners = op.Split(op.Mul(rois, op.scalarLike(rois, node.float('spatial_scale', 1))), [1, 1, 1, 1], 1)
  const [x1, y1, x2, y2] = corners as [Value, Value, Value, Value]
  const along = (low: Value, high: Value, axis: 0 | 1, size: number) =>
    tapsOf(op, pointsOf(op, node, { low, high }, bins[axis], ratio), size, axis)
  const axes = [
    { size: h, taps: along(y1, y2, 0, h) },
    { size: w, taps: along(x1, x2, 1, w) },
  ]
  const base = op.Reshape(op.Mul(images, op.scalar(h * w, 'int64')), [count, 1, 1])
  const taken = samples(op, channelRows(op, x), base, axes)
  const split = [count, bins[0], ratio, bins[1], ratio, c]
  // The mode max compares weighted elements before they are added up to samples, as ONNX Runtime does.
  const isMax = node.string('mode', 'avg') === 'max'
  const combined = op.Reshape(taken.reduce(isMax ? op.Max : op.Add), split)
  const y = isMax ? op.ReduceMax(combined, [2, 4], false) : op.ReduceMean(combined, [2, 4], false)
  return op.Transpose(y, [0, 3, 1, 2])
}

/** The coordinates of the samples of every bin along one axis: [R, bins · ratio]. */
function pointsOf(
  op: Builder,
  node: Node,
  { low, high }: { readonly low: Value; readonly high: Value },
  bins: number,
  ratio: number,
): Value {
  const shifted = node.string('coordinate_transformation_mode', 'half_pixel') === 'half_pixel'
  const length = op.Sub(high, low)
  const start = shifted ? op.Sub(low, op.scalarLike(low, 0.5)) : low
  const extent = shifted ? length : op.Max(length, op.scalarLike(length, 1))
  const count = bins * ratio
  const places = Array.from({ length: count }, (_, i) => (i + 0.5) / count)
  return op.Add(start, op.Mul(extent, op.constant(Tensor.of(low.dtype, [1, count], places))))
}

/**
 * Both neighbours of each point, in an axis of the points [R, y, x]. Up to one element outside a point is moved to the edge;
 * farther away it is zero.
 */
function tapsOf(op: Builder, at: Value, size: number, axis: 0 | 1): Tap[] {
  const [zero, one, last] = [0, 1, size - 1].map(k => op.scalarLike(at, k)) as [Value, Value, Value]
  const clamped = op.Min(op.Max(at, zero), last)
  const low = op.Floor(clamped)
  const t = op.Sub(clamped, low)
  const near = op.And(
    op.GreaterOrEqual(at, op.scalarLike(at, -1)),
    op.LessOrEqual(at, op.scalarLike(at, size)),
  )
  const placed = (value: Value) =>
    op.Reshape(
      value,
      axis === 0 ? [value.shape[0]!, value.shape[1]!, 1] : [value.shape[0]!, 1, value.shape[1]!],
    )
  return [
    { index: low, share: op.Sub(one, t) },
    { index: op.Min(op.Add(low, one), last), share: t },
  ].map(({ index, share }) => ({
    index: placed(op.Cast(index, 'int64')),
    weight: placed(op.Where(near, share, zero)),
  }))
}
