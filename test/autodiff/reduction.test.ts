/** Gradients of reductions. */

import { test } from 'uvu'
import { testRows } from '../support/check-grads.ts'
import { reductionRows } from './rows/reduction.ts'
import { closedForms } from '../support/closed-form.ts'

testRows(test, reductionRows)

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
