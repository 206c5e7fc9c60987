/** Properties of the sampler, by fast-check. */

import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Sampler } from '../../src/data/sampler.ts'
import { assertFails } from './files.ts'

const settings = fc.record({
  samples: fc.integer({ min: 1, max: 300 }),
  batchSize: fc.integer({ min: 1, max: 40 }),
  seed: fc.nat(),
  epoch: fc.nat(1000),
})

function epochOf(sampler: Sampler, epoch: number): number[] {
  return Array.from({ length: sampler.length }, (_, batch) => [...sampler.indices(epoch, batch)]).flat()
}

test('evaluation shows every sample once, in order, the last batch ragged', () => {
  fc.assert(
    fc.property(settings, ({ samples, batchSize, seed, epoch }) => {
      const sampler = new Sampler(samples, { batchSize, seed, shuffle: false, dropLast: false })
      assert.equal(epochOf(sampler, epoch), [...Array(samples).keys()])
      const last = sampler.indices(epoch, sampler.length - 1)
      assert.is(last.length, samples % batchSize || batchSize)
    }),
    { seed: 1 },
  )
})

test('training shows distinct samples in full batches, another order each epoch', () => {
  fc.assert(
    fc.property(settings, ({ samples, batchSize, seed, epoch }) => {
      fc.pre(samples >= batchSize)
      const sampler = new Sampler(samples, { batchSize, seed, shuffle: true, dropLast: true })
      const shown = epochOf(sampler, epoch)
      assert.is(shown.length, samples - (samples % batchSize))
      assert.is(new Set(shown).size, shown.length)
      assert.ok(shown.every(sample => sample >= 0 && sample < samples))
      if (samples > 20) assert.not.equal(epochOf(sampler, epoch + 1), shown)
      const again = new Sampler(samples, { batchSize, seed, shuffle: true, dropLast: true })
      assert.equal(epochOf(again, epoch), shown, 'the same seed and epoch, the same batches')
    }),
    { seed: 2 },
  )
})

test('no sample is left out of training again and again', () => {
  const sampler = new Sampler(10, { batchSize: 4, seed: 3, shuffle: true, dropLast: true })
  const left = new Array<number>(10).fill(0)
  for (let epoch = 0; epoch < 400; epoch++) {
    const shown = new Set(epochOf(sampler, epoch))
    for (let sample = 0; sample < 10; sample++) if (!shown.has(sample)) left[sample]!++
  }
  // 2 of 10 are left out each epoch: 80 expected each, standard deviation 8.
  assert.ok(
    left.every(count => count > 50 && count < 110),
    String(left),
  )
})

test('shuffling without dropping shows every sample once', () => {
  const sampler = new Sampler(11, { batchSize: 4, seed: 3, shuffle: true, dropLast: false })
  const shown = epochOf(sampler, 0)
  assert.not.equal(shown, [...Array(11).keys()])
  assert.equal(
    shown.sort((a, b) => a - b),
    [...Array(11).keys()],
  )
})

test('positions and sizes that make no sense', async () => {
  const options = { batchSize: 4, seed: 0, shuffle: true, dropLast: true }
  await assertFails(() => new Sampler(3, options), 'data: 3 samples do not fill one batch of 4', {
    cure: 'lower the batch size to at most 3',
  })
  await assertFails(
    () => new Sampler(8, { ...options, batchSize: 0.5 }),
    'batch size: expected a positive integer, got 0.5',
  )
  await assertFails(
    () => new Sampler(9, { ...options, shuffle: false }),
    'data: dropping the last batch without shuffling would never show the same samples',
  )
  await assertFails(() => new Sampler(9, options).indices(0, 2), 'data: batch 2 is outside an epoch of 2')
})

test.run()
