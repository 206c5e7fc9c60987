/** Outputs and gradients of single operators against PyTorch's: every case of fixtures/ops/index.json. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { checkOpCase, opCases } from '../support/op-fixture.ts'

const cases = opCases()

test('the index has cases', () => {
  assert.ok(cases.length > 100, `found ${cases.length} cases`)
})

for (const fixture of cases) test(fixture.name, () => checkOpCase(fixture))

test.run()
