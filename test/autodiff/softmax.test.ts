/** Gradients of Softmax and LogSoftmax. */

import { test } from 'uvu'
import { testRows } from '../support/check-grads.ts'
import { softmaxRows } from './rows/softmax.ts'
import { closedForms } from '../support/closed-form.ts'

testRows(test, softmaxRows)

// dy = 1: the outputs add up to a constant; far apart, nothing overflows.
closedForms(test, [
  { op: 'Softmax', inputs: [[1, 2, 3]], grads: [[0, 0, 0]] },
  { op: 'LogSoftmax', inputs: [[0, 0]], grads: [[0, 0]] },
  { op: 'LogSoftmax', inputs: [[-500, 500]], grads: [[1, -1]] },
])

test.run()
