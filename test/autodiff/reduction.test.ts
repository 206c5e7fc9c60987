/** Gradients of reductions. */

import { test } from 'uvu'
import type { GradRow } from '../support/check-grads.ts'
import { constants, testRows } from '../support/check-grads.ts'
import { closedForms } from '../support/closed-form.ts'

const shape = [2, 3, 4]

const REDUCTIONS: readonly Omit<GradRow, 'inputs'>[] = [
  { op: 'ReduceSum' },
  { op: 'ReduceMean' },
  { op: 'ReduceMax' },
  { op: 'ReduceMin' },
  { op: 'ReduceSumSquare' },
  { op: 'ReduceL1', kinks: [0] },
  { op: 'ReduceL2' },
  { op: 'ReduceLogSum', domain: [0.5, 2] },
  { op: 'ReduceLogSumExp' },
]

testRows(
  test,
  REDUCTIONS.flatMap(row => [
    { ...row, inputs: [shape] },
    { ...row, attributes: { keepdims: 0 }, inputs: [shape] },
    { ...row, inputs: [shape, constants(1)] },
    { ...row, attributes: { keepdims: 0 }, inputs: [shape, constants(-1, 0)] },
  ]),
)

testRows(
  test,
  ['ReduceSum', 'ReduceMean', 'ReduceMax'].map(op => ({
    op,
    attributes: { noop_with_empty_axes: 1 },
    inputs: [shape],
  })),
)

// Ties share evenly, as torch.amax; the norm of zeros has gradient zero.
closedForms(
  test,
  [
    { op: 'ReduceMax', inputs: [[1, 3, 3, 2]], grads: [[0, 0.5, 0.5, 0]] },
    { op: 'ReduceMin', inputs: [[1, 1, 1, 2]], grads: [[1 / 3, 1 / 3, 1 / 3, 0]] },
    { op: 'ReduceL2', inputs: [[0, 0]], grads: [[0, 0]] },
    { op: 'ReduceL2', inputs: [[3, 4]], grads: [[0.6, 0.8]] },
    { op: 'ReduceL1', inputs: [[-3, 0, 4]], grads: [[-1, 0, 1]] },
    { op: 'ReduceMean', inputs: [[1, 2, 3, 4]], grads: [[0.25, 0.25, 0.25, 0.25]] },
  ].map(row => ({ ...row, length: 1 })),
)

test.run()
