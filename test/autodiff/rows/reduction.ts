/** Reductions. */

import { constants, type GradRow } from '../../support/grad-row.ts'

const shape = [2, 3, 4]

const REDUCTIONS: readonly Omit<GradRow, 'inputs'>[] = [
  { op: 'ReduceSum' },
  { op: 'ReduceMean' },
  { op: 'ReduceMax' },
  { op: 'ReduceMin' },
  { op: 'ReduceProd' },
  { op: 'ReduceSumSquare' },
  { op: 'ReduceL1', kinks: [0] },
  { op: 'ReduceL2' },
  { op: 'ReduceLogSum', domain: [0.5, 2] },
  { op: 'ReduceLogSumExp' },
]

export const reductionRows: readonly GradRow[] = [
  ...REDUCTIONS.flatMap(row => [
    { ...row, inputs: [shape] },
    { ...row, attributes: { keepdims: 0 }, inputs: [shape] },
    { ...row, inputs: [shape, constants(1)] },
    { ...row, attributes: { keepdims: 0 }, inputs: [shape, constants(-1, 0)] },
  ]),
  // One zero among the factors, several, none.
  {
    op: 'ReduceProd',
    inputs: [{ shape: [3, 4], values: [1, 0, 2, -3, 0, 0, 1, 2, 1, 2, -3, 4] }, constants(1)],
    tolerance: 1e-5,
  },
  // No axes and no reduction: what is done before and after it stays.
  ...REDUCTIONS.map(row => ({ ...row, attributes: { noop_with_empty_axes: 1 }, inputs: [shape] })),
]
