/** Gathering. */

import type { Shape } from '../../../src/tensor/shape.ts'
import { constants, type GradRow, type InputSpec } from '../../support/grad-row.ts'

export const indices = (shape: Shape, ...values: number[]): InputSpec => ({ shape, dtype: 'int64', values })
const TOP_K: Omit<GradRow, 'inputs'> = { op: 'TopK', outputs: 2 }

export const indexingRows: readonly GradRow[] = [
  // An embedding: rows taken several times, or never.
  { op: 'Gather', inputs: [[5, 3], indices([2, 4], 0, 1, 1, 4, 1, 0, 4, 4)] },
  { op: 'Gather', inputs: [[5, 3], indices([3], -1, 2, -5)] },
  { op: 'Gather', attributes: { axis: 1 }, inputs: [[2, 4, 3], indices([2, 2], 3, 0, 3, -2)] },
  { op: 'Gather', attributes: { axis: -1 }, inputs: [[2, 4], indices([3], 3, 0, 3)] },
  { op: 'Gather', attributes: { axis: 1 }, inputs: [[2, 4, 3], indices([], 2)] },
  { op: 'Gather', inputs: [[5], indices([2], 4, 4)] },
  // One known position needs no scatter.
  { op: 'Gather', attributes: { axis: 1 }, inputs: [[2, 4, 3], { ...indices([], -1), constant: true }] },
  { op: 'Gather', attributes: { axis: 0 }, inputs: [[4, 3], constants(1)] },

  {
    op: 'GatherElements',
    attributes: { axis: 1 },
    inputs: [[2, 3], indices([2, 4], 0, 0, 2, -1, 1, 1, 1, 0)],
  },
  { op: 'GatherElements', inputs: [[3, 2], indices([2, 2], 0, 2, 2, 0)] },
  { op: 'GatherND', inputs: [[3, 4], indices([3, 2], 0, 1, 2, 3, 0, 1)] },
  { op: 'GatherND', inputs: [[3, 4], indices([2, 2, 1], 0, -1, 2, 2)] },

  { op: 'GatherND', attributes: { batch_dims: 1 }, inputs: [[2, 3, 4], indices([2, 1], 2, -3)] },
  {
    op: 'GatherND',
    attributes: { batch_dims: 1 },
    inputs: [[2, 3, 4], indices([2, 3, 2], 0, 1, 2, 3, 0, 1, 1, -1, 1, 3, 0, 0)],
  },
  { op: 'GatherND', attributes: { batch_dims: 2 }, inputs: [[2, 2, 3, 2], indices([2, 2, 1], 0, 2, 2, -2)] },

  {
    op: 'OneHot',
    inputs: [indices([4], 0, 3, -1, 7), { shape: [1], dtype: 'int64', values: [4], constant: true }, [2]],
    dtype: 'float32',
  },
  {
    op: 'OneHot',
    attributes: { axis: 1 },
    inputs: [
      indices([2, 3], 0, 1, 2, 2, 1, 0),
      { shape: [], dtype: 'int64', values: [3], constant: true },
      [2],
    ],
    dtype: 'float32',
  },

  { ...TOP_K, inputs: [[3, 5], constants(2)] },
  { ...TOP_K, attributes: { axis: 0, largest: 0 }, inputs: [[5, 2], constants(3)] },
]
