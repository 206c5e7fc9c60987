import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { dataOptions, given, parseNumbers, weightPatterns } from '../../src/cli/options.ts'

test('absent options are left out', () => {
  assert.equal(dataOptions({ holdOut: 0.1, seed: 3 }), { holdOut: 0.1, seed: 3 })
  assert.equal(weightPatterns({}), {})
  assert.equal(given({ a: 1, b: undefined, c: null, d: false }), { a: 1, c: null, d: false })
})

test('texts become lists, sizes and numbers', () => {
  const options = dataOptions({
    ...{ holdOut: 0, seed: 0, split: 'test', limit: 10, inputs: 'a, b', targets: 'y', preset: 'none' },
    ...{ size: '48x192', mean: '0.5', std: '0.1,0.2,0.3', classNames: 'cat,dog' },
  })
  assert.equal(options, {
    ...{ holdOut: 0, seed: 0, split: 'test', limit: 10, inputs: ['a', 'b'], targets: 'y', preset: 'none' },
    ...{ size: { height: 48, width: 192 }, mean: [0.5], std: [0.1, 0.2, 0.3], classNames: ['cat', 'dog'] },
  })
})

test('one side means a square', () => {
  assert.equal(dataOptions({ holdOut: 0, seed: 0, size: '64' }).size, { height: 64, width: 64 })
})

test('numbers may be negative and in any notation', () => {
  assert.equal(parseNumbers('--mean', '-1, .5,1e-3'), [-1, 0.5, 0.001])
})

test.run()
