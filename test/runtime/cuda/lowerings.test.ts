/** The composites as CUDA gets them, run on the CPU provider, against PyTorch's gradients. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { CUDA_LOWERINGS } from '../../../src/runtime/ort-cuda/lowering.ts'
import { COMPOSITE_LOWERINGS } from '../../../src/autodiff/lowering/index.ts'
import { checkOpCase, opCases } from '../../support/op-fixture.ts'

/** Operators whose gradients come from composites that CUDA lowers in a way of its own. */
const REPLACED = /^MaxPool$/

for (const fixture of opCases().filter(({ op }) => REPLACED.test(op))) {
  test(fixture.name, () => checkOpCase(fixture, { lowerings: CUDA_LOWERINGS }))
}

test('all other composites have the default lowering, which has its own tests', () => {
  const own = Object.entries(CUDA_LOWERINGS).filter(
    ([name, lowering]) => COMPOSITE_LOWERINGS[name as keyof typeof COMPOSITE_LOWERINGS] !== lowering,
  )
  assert.equal(
    own.map(([name]) => name),
    ['MaxPoolGrad'],
  )
})

test.run()
