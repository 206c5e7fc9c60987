/** Gradients of Softmax and LogSoftmax. */

import { test } from 'uvu'
import { testRows } from '../support/check-grads.ts'
import { closedForms } from '../support/closed-form.ts'

testRows(
  test,
  ['Softmax', 'LogSoftmax'].flatMap(op => [
    { op, inputs: [[2, 3, 4]] },
    ...[0, 1, 2, -1, -2].map(axis => ({ op, attributes: { axis }, inputs: [[2, 3, 4]] })),
  ]),
)

// dy = 1: the outputs add up to a constant; far apart, nothing overflows.
closedForms(test, [
  { op: 'Softmax', inputs: [[1, 2, 3]], grads: [[0, 0, 0]] },
  { op: 'LogSoftmax', inputs: [[0, 0]], grads: [[0, 0]] },
  { op: 'LogSoftmax', inputs: [[-500, 500]], grads: [[1, -1]] },
])

test.run()
