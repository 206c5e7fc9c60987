/** The CPU engine's lowerings against PyTorch's gradients, and each branch of their choices against the default lowerings. */

import { test } from 'uvu'
import { CPU_LOWERINGS } from '../../src/runtime/ort-cpu/lowering/index.ts'
import { checkOpCase, opCases } from '../support/op-fixture.ts'

const REPLACED = /^(Conv|ConvTranspose|MaxPool|AveragePool|BatchNormalization)$/

for (const fixture of opCases().filter(({ op }) => REPLACED.test(op))) {
  test(fixture.name, () => checkOpCase(fixture, { lowerings: CPU_LOWERINGS }))
}

test.run()
