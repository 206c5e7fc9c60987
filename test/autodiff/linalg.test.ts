/** Gradients of matrix products. */

import { test } from 'uvu'
import { testRows } from '../support/check-grads.ts'
import { linalgRows } from './rows/linalg.ts'

testRows(test, linalgRows)

// Nothing to multiply: not among the rows of all engines, because WebGPU's kernels end the process on empty tensors.
testRows(test, [
  {
    op: 'MatMul',
    inputs: [
      [0, 3],
      [3, 4],
    ],
  },
  {
    op: 'MatMul',
    inputs: [
      [2, 0],
      [0, 3],
    ],
  },
])

test.run()
