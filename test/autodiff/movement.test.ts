/** Gradients of operators that move, copy or drop elements. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { pullBack } from '../../src/autodiff/driver.ts'
import { RULES } from '../../src/autodiff/index.ts'
import { Builder } from '../../src/ir/builder.ts'
import { Value } from '../../src/ir/value.ts'
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

test('pieces of a Split that are absent get zeros', () => {
  const op = new Builder(['x', 'dy'])
  const [x, dy] = [Value.typed('x', 'float32', [5, 2]), Value.typed('dy', 'float32', [2, 2])]
  const pieces = op.emit('Split', [x], [{ shape: [2, 2] }, { shape: [2, 2] }, { shape: [1, 2] }], {
    num_outputs: 3,
  })
  pieces[0]!.producer!.outputs = [null, pieces[1]!, null]
  const found = pullBack(op, [...op.nodes], new Map([[pieces[1]!, dy]]), [x], { rules: RULES, opset: 18 })
  const [before, middle, after] = found.get(x)!.producer!.inputs
  assert.equal([before!.shape, middle, after!.shape], [[2, 2], dy, [1, 2]])
})

test.run()
