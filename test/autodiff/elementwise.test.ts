/** Gradients of element-wise arithmetic. */

import { test } from 'uvu'
import { testRows } from '../support/check-grads.ts'
import { elementwiseRows } from './rows/elementwise.ts'
import { closedForms } from '../support/closed-form.ts'

testRows(test, elementwiseRows)

// Ties, kinks and poles, where finite differences say nothing: PyTorch's answers.
// prettier-ignore
closedForms(test, [
  { op: 'Max', inputs: [[1, 2, 3], [1, 3, 2]], grads: [[0.5, 0, 1], [0.5, 1, 0]] },
  { op: 'Min', inputs: [[1, 2], [1, 3], [1, 2]], grads: [[1 / 3, 0.5], [1 / 3, 0], [1 / 3, 0.5]] },
  { op: 'Abs', inputs: [[-2, 0, 3]], grads: [[-1, 0, 1]] },
  { op: 'Pow', inputs: [[0, 2, 0], [0, 3, 2]], grads: [[0, 12, 0], [0, 8 * Math.log(2), 0]] },
  { op: 'Sqrt', inputs: [[4, 0.25]], grads: [[0.25, 1]] },
])

test.run()
