/** Outputs and gradients of single operators on tfjs kernels against PyTorch's: every case of fixtures/ops. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { checkOpCase, opCases } from '../../support/op-fixture.ts'
import { errorOf } from '../../support/errors.ts'
import { engine, tensorCount } from '../../support/tfjs.ts'

/** There is no kernel that multiplies or compares what meets at one place. */
const REFUSED = /^scatter_elements_(mul|max|min)/

for (const fixture of opCases()) {
  test(fixture.name, async () => {
    const before = tensorCount()
    const run = checkOpCase(fixture, { engine })
    if (REFUSED.test(fixture.name)) {
      assert.match((await errorOf(run)).message, /the tfjs engine knows the reductions none and add, found m/)
    } else await run
    assert.is(tensorCount(), before, 'tensors that were not freed')
  })
}

test.run()
