/** Gradients of activation functions. */

import { test } from 'uvu'
import { float } from '../../src/ir/attribute.ts'
import { testRows } from '../support/check-grads.ts'
import { activationRows } from './rows/activations.ts'
import { closedForms } from '../support/closed-form.ts'

testRows(test, activationRows)

// On a kink, PyTorch's answers.
closedForms(test, [
  { op: 'Relu', inputs: [[-1, 0, 2]], grads: [[0, 0, 1]] },
  { op: 'LeakyRelu', attributes: { alpha: float(0.5) }, inputs: [[-1, 0, 2]], grads: [[0.5, 0.5, 1]] },
  // Clip passes its gradient on both bounds, as torch.clamp.
  { op: 'Clip', inputs: [[-1, 0, 3, 6, 7], 0, 6], grads: [[0, 1, 1, 1, 0], 1, 1] },
  { op: 'HardSigmoid', inputs: [[-2.5, 0, 2.5]], grads: [[0, 0.2, 0]] },
  { op: 'Softplus', inputs: [[-100, 0, 100]], grads: [[0, 0.5, 1]] },
  { op: 'Softsign', inputs: [[-1, 0, 3]], grads: [[0.25, 1, 1 / 16]] },
  { op: 'Sigmoid', inputs: [[-200, 0, 200]], grads: [[0, 0.25, 0]] },
  { op: 'Gelu', inputs: [[-100, 0, 100]], grads: [[0, 0.5, 1]] },
])

test.run()
