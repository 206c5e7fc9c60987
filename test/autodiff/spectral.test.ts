/** Gradients of Fourier transforms. */

import { test } from 'uvu'
import { spectralRows } from './rows/spectral.ts'
import { testRows } from '../support/check-grads.ts'

testRows(test, spectralRows)

test.run()
