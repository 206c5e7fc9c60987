/** Gradients of gathering. */

import { test } from 'uvu'
import { indexingRows } from './rows/indexing.ts'
import { testRows } from '../support/check-grads.ts'

testRows(test, indexingRows)

test.run()
