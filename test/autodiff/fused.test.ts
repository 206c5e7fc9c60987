/** Gradients of operators that stand for several others. */

import { test } from 'uvu'
import { testRows } from '../support/check-grads.ts'
import { fusedRows } from './rows/fused.ts'

testRows(test, fusedRows)

test.run()
