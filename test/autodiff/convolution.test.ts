/** Gradients of Conv and ConvTranspose by finite differences; PyTorch's are in fixtures.test.ts. */

import { test } from 'uvu'
import { testRows } from '../support/check-grads.ts'
import { convolutionRows } from './rows/convolution.ts'

testRows(test, convolutionRows)

test.run()
