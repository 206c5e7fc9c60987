/** Gradients of recurrent layers. */

import { test } from 'uvu'
import { testRows } from '../support/check-grads.ts'
import { recurrentRows } from './rows/recurrent.ts'

testRows(test, recurrentRows)

test.run()
