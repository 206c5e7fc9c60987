/** Operators that move, copy or drop elements. */

import { constants, type GradRow, type InputSpec } from '../../support/grad-row.ts'

const INT64_MAX = 2 ** 63 - 1024 // the largest float64 below 2^63, as far as "to the end" goes
const FLOAT = 1
export const scalar = (value: number, dtype: InputSpec['dtype'] = 'float32'): InputSpec => ({
  shape: [],
  dtype,
  values: [value],
  constant: true,
})

const condition = (...values: number[]): InputSpec => ({
  shape: [values.length],
  dtype: 'bool',
  values,
  constant: true,
})
const slice = (...parts: number[][]): InputSpec[] => parts.map(part => constants(...part))
const pads = (...values: number[]): InputSpec => constants(...values)

export const movementRows: readonly GradRow[] = [
  { op: 'Identity', inputs: [[2, 3]] },
  { op: 'Cast', attributes: { to: FLOAT }, inputs: [[2, 3]], tolerance: 1e-2, delta: 1e-2 },
  { op: 'CastLike', inputs: [[2, 3], { shape: [1], values: [0], constant: true }] },
  { op: 'Dropout', inputs: [[2, 3]] },
  { op: 'Dropout', inputs: [[2, 3], scalar(0.5), scalar(0, 'bool')] },
  { op: 'Reshape', inputs: [[2, 6], constants(3, -1)] },
  { op: 'Reshape', inputs: [[2, 6], constants(0, 2, 3)] },
  { op: 'Reshape', inputs: [[], constants(1, 1)] },
  { op: 'Flatten', inputs: [[2, 3, 2]] },
  { op: 'Flatten', attributes: { axis: 0 }, inputs: [[2, 3]] },
  { op: 'Flatten', attributes: { axis: -1 }, inputs: [[2, 3, 2]] },
  { op: 'Squeeze', inputs: [[1, 3, 1], constants(0)] },
  { op: 'Squeeze', inputs: [[1, 3, 1]] },
  { op: 'Unsqueeze', inputs: [[2, 3], constants(0, -1)] },
  { op: 'Transpose', inputs: [[2, 3, 4]] },
  { op: 'Transpose', attributes: { perm: [1, 2, 0] }, inputs: [[2, 3, 4]] },
  { op: 'Expand', inputs: [[3, 1], constants(2, 1, 4)] },
  { op: 'Expand', inputs: [[2, 3], constants(1)] },
  { op: 'Tile', inputs: [[2, 3], constants(2, 3)] },
  { op: 'Tile', inputs: [[2, 3, 2], constants(1, 2, 1)] },
  { op: 'Tile', inputs: [[2], constants(1)] },
  {
    op: 'Concat',
    attributes: { axis: 1 },
    inputs: [
      [2, 1],
      [2, 3],
      [2, 2],
    ],
  },
  {
    op: 'Concat',
    attributes: { axis: -2 },
    inputs: [
      [2, 3],
      [1, 3],
    ],
  },
  { op: 'Concat', attributes: { axis: 0 }, inputs: [[2]] },
  { op: 'Concat', attributes: { axis: 0 }, inputs: [[2], { shape: [3], differentiable: false }] },
  { op: 'Split', attributes: { axis: 1 }, inputs: [[2, 6], constants(1, 3, 2)], outputs: 3 },
  { op: 'Split', attributes: { axis: -1, num_outputs: 3 }, inputs: [[2, 7]], outputs: 3 },
  { op: 'Trilu', inputs: [[3, 4]] },
  { op: 'Trilu', attributes: { upper: 0 }, inputs: [[2, 3, 3], scalar(-1, 'int64')] },
  { op: 'DepthToSpace', attributes: { blocksize: 2 }, inputs: [[1, 8, 2, 3]] },
  { op: 'DepthToSpace', attributes: { blocksize: 2, mode: 'CRD' }, inputs: [[1, 8, 2, 3]] },
  { op: 'SpaceToDepth', attributes: { blocksize: 2 }, inputs: [[1, 2, 4, 2]] },
  ...[0, 1].flatMap(exclusive =>
    [0, 1].map((reverse): GradRow => ({
      op: 'CumSum',
      attributes: { exclusive, reverse },
      inputs: [[2, 4], scalar(1, 'int64')],
    })),
  ),

  ...[0, 1].map((time_axis): GradRow => ({
    op: 'ReverseSequence',
    attributes: { time_axis, batch_axis: 1 - time_axis },
    inputs: [time_axis === 0 ? [4, 3, 2] : [3, 4, 2], { shape: [3], dtype: 'int64', values: [1, 4, 3] }],
    dtype: 'float32',
  })),
  { op: 'Compress', inputs: [[2, 3], condition(1, 0, 0, 1, 1)] },
  { op: 'Compress', attributes: { axis: -1 }, inputs: [[2, 3], condition(1, 0, 1)] },
  { op: 'Compress', attributes: { axis: 0 }, inputs: [[3, 2, 2], condition(0, 1)] },

  { op: 'Slice', inputs: [[4, 5], ...slice([1, 2], [3, 4])] },
  { op: 'Slice', inputs: [[4, 5], ...slice([1], [INT64_MAX], [1])] },
  { op: 'Slice', inputs: [[4, 5], ...slice([-3], [-1], [-1])] },
  { op: 'Slice', inputs: [[4, 7], ...slice([1, 0], [4, 7], [0, 1], [2, 3])] },
  { op: 'Slice', inputs: [[4, 7], ...slice([-1], [-INT64_MAX], [1], [-1])] },
  { op: 'Slice', inputs: [[4, 7], ...slice([5], [0], [1], [-2])] },
  { op: 'Slice', inputs: [[4, 7], ...slice([100, -100], [-100, 100], [1, 0], [-3, 2])] },
  { op: 'Slice', inputs: [[4, 5], ...slice([2], [2], [0])] },

  { op: 'Pad', inputs: [[2, 3], pads(1, 0, 2, 1)] },
  { op: 'Pad', inputs: [[4, 5], pads(-1, 1, 2, -2)] },
  { op: 'Pad', inputs: [[2, 3], pads(1, 2), null, constants(-1)] },
  { op: 'Pad', inputs: [[2, 3], pads(1, 0, 0, 2), []] },
  { op: 'Pad', attributes: { mode: 'reflect' }, inputs: [[3, 4], pads(2, 3, 1, 0)] },
  { op: 'Pad', attributes: { mode: 'reflect' }, inputs: [[1, 2, 4], pads(1, 2), null, constants(2)] },
  { op: 'Pad', attributes: { mode: 'edge' }, inputs: [[3, 4], pads(2, 3, 1, 0)] },
  { op: 'Pad', attributes: { mode: 'wrap' }, inputs: [[3, 4], pads(2, 3, 1, 0)] },
]
