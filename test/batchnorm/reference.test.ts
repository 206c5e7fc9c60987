import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { recalibrate } from '../../src/batchnorm/index.ts'
import { findBatchNorms } from '../../src/passes/index.ts'
import { relativeError } from '../support/close.ts'
import { openBytes } from '../passes/support/run.ts'
import { batchNormFixtures, loadReference } from './support/reference.ts'

/** float32 statistics of a net whose every layer depends on the ones before. */
const TOLERANCE = 2e-6

for (const fixture of batchNormFixtures()) {
  test(`${fixture}: equal to PyTorch's update_bn and to exact pooling`, async () => {
    const reference = await loadReference(fixture)
    const sites = findBatchNorms(reference.model)
    const cases = [
      { mode: 'torch', ragged: false, mean: 'swa_bn', variance: 'swa_bn' },
      { mode: 'torch', ragged: true, mean: 'swa_bn_ragged', variance: 'swa_bn_ragged' },
      { mode: 'exact', ragged: false, mean: 'swa_bn_exact', variance: 'swa_bn_exact_unbiased' },
      { mode: 'exact', ragged: true, mean: 'swa_bn_exact_ragged', variance: 'swa_bn_exact_unbiased_ragged' },
    ] as const
    for (const { mode, ragged, mean, variance } of cases) {
      const report = await recalibrate(reference.model, openBytes, reference.batches(ragged), { mode })
      assert.is(report.sites.length, sites.length)
      assert.is(report.replacements.size, 2 * sites.length)
      for (const site of sites) {
        for (const [key, value] of [
          [mean, site.mean],
          [variance, site.variance],
        ] as const) {
          const name = reference.torchName(value)
          const found = report.replacements.get(value.tensor!)!.toNumbers()
          const error = relativeError(found, reference.numbers(`${key}/${name}`))
          assert.ok(error <= TOLERANCE, `${mode}${ragged ? ', ragged' : ''}: ${name} is off by ${error}`)
        }
      }
    }
  })
}

test.run()
