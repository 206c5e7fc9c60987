/** Reading tensors between their elements: what GridSample, RoiAlign and DeformConv share. */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import { broadcastShapes, sizeOf, type Shape } from '../../tensor/shape.ts'

/** One of the elements of an axis that a point is made of. */
export interface Tap {
  /** int64, inside the axis. */
  readonly index: Value
  /** How much of it; null: all. */
  readonly weight: Value | null
}

/** [N, C, spatial...] as rows of channels: [N · spatial, C]. */
export function channelRows(op: Builder, x: Value): Value {
  const [n, c] = x.shape as [number, number]
  const flat = op.Reshape(x, [n, c, sizeOf(x.shape.slice(2))])
  return op.Reshape(op.Transpose(flat, [0, 2, 1]), [sizeOf(x.shape) / c, c])
}

/** The opposite for points: [N · points, C] to [N, C, points...]. */
export function fromChannelRows(op: Builder, rows: Value, n: number, points: Shape): Value {
  const c = rows.shape.at(-1)!
  const flat = op.Reshape(rows, [n, sizeOf(points), c])
  return op.Reshape(op.Transpose(flat, [0, 2, 1]), [n, c, ...points])
}

/** The place that a tap of every axis picks: its row, and the product of the weights. */
interface Corner {
  readonly row: Value
  readonly weight: Value | null
}

/**
 * Every combination of one tap for each axis. `base` is the row of a point's first element; rows of an axis lie as far
 * apart as the sizes of the axes behind it say. One combination at a time is gathered, so that memory does not grow with
 * their number.
 *
 * @returns for each combination, [points..., C]: the gathered rows times their weight
 */
export function samples(
  op: Builder,
  rows: Value,
  base: Value,
  axes: readonly { readonly size: number; readonly taps: readonly Tap[] }[],
): Value[] {
  let corners: Corner[] = [{ row: base, weight: null }]
  axes.forEach(({ taps }, axis) => {
    const stride = op.scalar(sizeOf(axes.slice(axis + 1).map(({ size }) => size)), 'int64')
    corners = corners.flatMap(corner =>
      taps.map(({ index, weight }) => ({
        row: op.Add(corner.row, op.Mul(index, stride)),
        weight: corner.weight && weight ? op.Mul(corner.weight, weight) : (corner.weight ?? weight),
      })),
    )
  })
  return corners.map(({ row, weight }) => {
    const taken = op.Gather(rows, row, 0)
    return weight ? op.Mul(taken, op.Reshape(weight, [...broadcastTo(weight.shape, row.shape), 1])) : taken
  })
}

/** The shape with ones before it, up to the rank of the other. */
function broadcastTo(shape: Shape, other: Shape): number[] {
  const rank = broadcastShapes([shape, other], 'sample').length
  return [...new Array<number>(rank - shape.length).fill(1), ...shape]
}

/** Indices that may be outside, as integers inside: `index` holds whole numbers. */
export function inside(op: Builder, index: Value, size: number): Value {
  const low = op.Max(index, op.scalarLike(index, 0))
  return op.Cast(op.Min(low, op.scalarLike(index, size - 1)), 'int64')
}

/** 1 where whole numbers are indices of an axis, 0 elsewhere. */
export function isInside(op: Builder, index: Value, size: number): Value {
  return op.And(op.GreaterOrEqual(index, op.scalarLike(index, 0)), op.Less(index, op.scalarLike(index, size)))
}

/** The two neighbours of a point and their weights, 1 − t and t; what is outside counts as zero. */
export function linearTapsInZeros(op: Builder, at: Value, size: number): Tap[] {
  const low = op.Floor(at)
  const t = op.Sub(at, low)
  const one = op.scalarLike(at, 1)
  return [
    { index: low, share: op.Sub(one, t) },
    { index: op.Add(low, one), share: t },
  ].map(({ index, share }) => ({
    index: inside(op, index, size),
    weight: op.Where(isInside(op, index, size), share, op.scalarLike(at, 0)),
  }))
}
