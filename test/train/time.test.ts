/** Times of a run: parsing, resolving, refusing. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import {
  formatTime,
  parseTime,
  resolveLength,
  resolvePoint,
  resolveTime,
  totalBatches,
} from '../../src/train/time.ts'
import { UsageError } from '../../src/util/errors.ts'

const test = suite('train: time')
const RUN = { epochs: 10, batchesPerEpoch: 100, batchSize: 32 }

test('the four units are read and written', () => {
  for (const [text, value, unit] of [
    ['0.8dur', 0.8, 'dur'],
    ['3ep', 3, 'ep'],
    ['2.5ep', 2.5, 'ep'],
    ['500ba', 500, 'ba'],
    ['20000sp', 20000, 'sp'],
    ['.5dur', 0.5, 'dur'],
    ['0ba', 0, 'ba'],
  ] as const) {
    assert.equal(parseTime(text, 'x'), { value, unit })
    assert.equal(parseTime(formatTime({ value, unit }), 'x'), { value, unit })
  }
  assert.equal(parseTime(' 1dur ', 'x'), { value: 1, unit: 'dur' })
})

test('times become batches', () => {
  const batches = (text: string, run = RUN) => resolveTime(parseTime(text, 'x'), run)
  assert.is(totalBatches(RUN), 1000)
  assert.is(totalBatches({ ...RUN, epochs: 0.25 }), 25)
  assert.is(batches('0.75dur'), 750)
  assert.is(batches('0.7505dur'), 751)
  assert.is(batches('3ep'), 300)
  assert.is(batches('2.5ep'), 250)
  assert.is(batches('500ba'), 500)
  assert.is(batches('3200sp'), 100)
  assert.is(batches('3201sp'), 101)
  // 0.7 · 10 and 0.29 · 100 are not whole in float64.
  for (let percent = 0; percent <= 100; percent++) {
    assert.is(batches(`${percent / 100}dur`, { epochs: 1, batchesPerEpoch: 100, batchSize: 1 }), percent)
  }
})

test('what is not a time is refused', () => {
  const message = (run: () => unknown) => {
    try {
      run()
    } catch (error) {
      if (error instanceof UsageError) return error.message
      throw error
    }
    return 'accepted'
  }
  assert.is(
    message(() => parseTime('12', '--swa-start')),
    '--swa-start: expected a time, found "12"',
  )
  for (const text of ['', 'ep', '-1ep', '1e3ba', '3 ep', '3epochs', 'NaNdur', '.dur']) {
    assert.is(
      message(() => parseTime(text, 'x')),
      `x: expected a time, found "${text}"`,
    )
  }
  assert.is(
    message(() => parseTime('80dur', 'x')),
    'x: a part of the run should be between 0dur and 1dur, found "80dur"',
  )
  assert.is(
    message(() => parseTime('1.5ba', 'x')),
    'x: expected a whole number of batches, found "1.5ba"',
  )
  assert.is(
    message(() => parseTime('0.5sp', 'x')),
    'x: expected a whole number of samples, found "0.5sp"',
  )
  assert.is(
    message(() => resolvePoint('11ep', RUN, 'swa-start')),
    'swa-start: 11ep is batch 1100, expected a time inside the run of 10ep = 1000ba',
  )
  assert.is(resolvePoint('10ep', RUN, 'x'), 1000)
  assert.is(
    message(() => resolveLength('0ep', RUN, 'cycle length')),
    'cycle length: expected at least 1 batch, found 0ep = 0 batches',
  )
  assert.is(resolveLength('0ep', RUN, 'x', 0), 0)
  assert.is(resolveLength('20ep', RUN, 'x'), 2000)
})

test.run()
