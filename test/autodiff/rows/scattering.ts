/** Scatters in all reductions. */

import type { GradRow } from '../../support/grad-row.ts'
import { indices } from './indexing.ts'

/** Indices that meet are for reductions only: without one the operator leaves open which update stays. */
const REDUCTIONS = ['add', 'mul', 'max', 'min']

const far = { shape: [2, 3], values: [1.7, -1.2, 0.4, 0.9, -0.3, 1.1] } as const

export const scatteringRows: readonly GradRow[] = [
  { op: 'ScatterElements', inputs: [[3, 4], indices([2, 3], 0, 2, 1, 2, 0, -1), [2, 3]] },
  { op: 'ScatterElements', attributes: { axis: 1 }, inputs: [[2, 4], indices([1, 2], 3, -4), [1, 2]] },
  ...REDUCTIONS.flatMap((reduction): GradRow[] => [
    {
      op: 'ScatterElements',
      attributes: { axis: -1, reduction },
      inputs: [[2, 4], indices([2, 3], 1, 1, -1, 0, 1, 1), far],
      opset: 18,
    },
    {
      op: 'ScatterElements',
      attributes: { axis: 0, reduction },
      inputs: [[3], indices([5], 0, 0, 0, 2, -1), { shape: [5], values: [0.5, -1.5, 2.5, 0.7, -0.2] }],
      opset: 18,
    },
  ]),
  // One zero among the factors at a place, two of them.
  {
    op: 'ScatterElements',
    attributes: { reduction: 'mul' },
    inputs: [[3], indices([6], 0, 0, 1, 1, 1, 2), { shape: [6], values: [0, 3, 0, 0, 2, 0] }],
    opset: 18,
  },
  { op: 'ScatterND', inputs: [[4, 3], indices([2, 1], 2, -4), [2, 3]] },
  { op: 'ScatterND', inputs: [[2, 3, 2], indices([2, 2, 2], 0, 1, 1, 2, 0, 0, 1, -2), [2, 2, 2]] },
  { op: 'ScatterND', inputs: [[2, 3], indices([3, 2], 0, 1, 1, 2, 0, 0), [3]] },
  ...REDUCTIONS.map((reduction): GradRow => ({
    op: 'ScatterND',
    attributes: { reduction },
    inputs: [[3, 2], indices([2, 1], 1, -1), { shape: [2, 2], values: [0.5, -1.5, 2.5, 0.7] }],
    opset: 18,
  })),
]
