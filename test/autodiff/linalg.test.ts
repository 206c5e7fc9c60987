/** Gradients of matrix products. */

import { test } from 'uvu'
import { testRows } from '../support/check-grads.ts'
import { linalgRows } from './rows/linalg.ts'

testRows(test, linalgRows)

test.run()
