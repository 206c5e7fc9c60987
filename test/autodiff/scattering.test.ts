/** Gradients of scatters. */

import { test } from 'uvu'
import { testRows } from '../support/check-grads.ts'
import { scatteringRows } from './rows/scattering.ts'

testRows(test, scatteringRows)

test.run()
