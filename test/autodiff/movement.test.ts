/** Gradients of operators that move, copy or drop elements. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { GradRow } from '../support/grad-row.ts'
import { movementRows, scalar } from './rows/movement.ts'
import { checkGrads, testRows } from '../support/check-grads.ts'
import { constants, rowName } from '../support/grad-row.ts'
import { errorOf } from '../support/errors.ts'

testRows(test, movementRows)

/** What the rules refuse, in their words. */
const REFUSED: readonly (readonly [GradRow, string])[] = [
  [
    { op: 'Dropout', inputs: [[2, 3], scalar(0.5), scalar(1, 'bool')] },
    'gradient: Dropout "Dropout_0" is in training mode, expected inference mode',
  ],
  [
    { op: 'Pad', attributes: { mode: 'edge' }, inputs: [[3, 4], constants(-1, 1, 0, 0)] },
    'gradient: Pad "Pad_0" in mode edge has negative pads, expected none',
  ],
]

for (const [row, message] of REFUSED) {
  test(`${rowName(row)} is refused`, async () => {
    assert.is((await errorOf(checkGrads(row))).message, message)
  })
}

test.run()
