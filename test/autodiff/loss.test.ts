/** Gradients of the loss composites by finite differences; PyTorch's losses are in train/losses.test.ts. */

import { test } from 'uvu'
import { testRows } from '../support/check-grads.ts'
import { lossRows } from './rows/loss.ts'

testRows(test, lossRows)

test.run()
