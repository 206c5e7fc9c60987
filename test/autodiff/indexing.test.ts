/** Gradients of gathering. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { GradRow } from '../support/grad-row.ts'
import { indexingRows, indices } from './rows/indexing.ts'
import { checkGrads, testRows } from '../support/check-grads.ts'
import { errorOf } from '../support/errors.ts'

testRows(test, indexingRows)

test('GatherND with batch_dims is refused', async () => {
  const row: GradRow = {
    op: 'GatherND',
    attributes: { batch_dims: 1 },
    inputs: [[2, 3], indices([2, 1], 0, 1)],
  }
  const error = await errorOf(checkGrads(row))
  assert.is(error.message, 'gradient: GatherND "GatherND_0" has batch_dims 1, expected 0')
})

test.run()
