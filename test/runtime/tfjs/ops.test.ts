/** Outputs and gradients of single operators on tfjs kernels against PyTorch's: every case of fixtures/ops. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { checkOpCase, opCases } from '../../support/op-fixture.ts'
import { engine, tensorCount } from '../../support/tfjs.ts'

for (const fixture of opCases()) {
  test(fixture.name, async () => {
    const before = tensorCount()
    await checkOpCase(fixture, { engine })
    assert.is(tensorCount(), before, 'tensors that were not freed')
  })
}

test.run()
