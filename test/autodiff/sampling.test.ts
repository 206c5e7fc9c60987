/** Gradients of operators that read between elements. */

import { test } from 'uvu'
import { testRows } from '../support/check-grads.ts'
import { samplingRows } from './rows/sampling.ts'

testRows(test, samplingRows)

test.run()
