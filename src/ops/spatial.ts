/** Cutting and padding along the spatial axes of [N, C, spatial...] tensors. */

import type { Builder } from '../ir/builder.ts'
import type { Value } from '../ir/value.ts'

/** The elements `start, start+step, ...` before `stop` (at most the end of the axis) on each spatial axis. */
export interface SpatialRange {
  readonly start: number
  readonly stop: number
  readonly step?: number
}

/** Slices the axes on which the range leaves something out; no node where there is none. */
export function sliceSpatial(op: Builder, x: Value, ranges: readonly SpatialRange[]): Value {
  const cut = ranges.flatMap(({ start, stop, step = 1 }, i) => {
    const dim = x.shape[i + 2]!
    return start > 0 || stop < dim || step > 1
      ? [{ axis: i + 2, start, stop: Math.min(stop, dim), step }]
      : []
  })
  if (cut.length === 0) return x
  const column = (pick: (range: (typeof cut)[number]) => number) => cut.map(pick)
  const steps = cut.some(range => range.step > 1) ? column(range => range.step) : undefined
  return op.Slice(
    x,
    column(r => r.start),
    column(r => r.stop),
    column(r => r.axis),
    steps,
  )
}

/** Pads the spatial axes; no node where all pads are 0. */
export function padSpatial(
  op: Builder,
  x: Value,
  begins: readonly number[],
  ends: readonly number[],
  value = 0,
): Value {
  return op.Pad(x, [0, 0, ...begins, 0, 0, ...ends], value)
}
