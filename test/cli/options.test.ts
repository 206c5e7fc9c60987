import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { dataOptions, given, parseNumbers, weightPatterns } from '../../src/cli/options.ts'
import { errorOf } from '../support/errors.ts'

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

test('targets: one name or path, several in order, several by outputs', async () => {
  const of = (targets: string) => dataOptions({ holdOut: 0, seed: 0, targets }).targets
  assert.is(of('data/a,b=1/y.npy'), 'data/a,b=1/y.npy')
  assert.equal(of('kind, box'), [
    { array: 'kind', output: 0 },
    { array: 'box', output: 1 },
  ])
  assert.equal(of('a=b=kind,c=box'), [
    { array: 'kind', output: 'a=b' },
    { array: 'box', output: 'c' },
  ])
  for (const text of ['a,b=c', 'a=,b=c', 'a=x,a=y', 'a=x,b=x', '=x']) {
    const error = await errorOf(() => of(text))
    assert.is(
      error.message,
      `--targets: expected different arrays such as a,b, or OUTPUT=a,OUTPUT=b, found "${text}"`,
    )
  }
})

test('columns of the inputs', async () => {
  const of = (...input: string[]) => dataOptions({ holdOut: 0, seed: 0, input }).inputColumns
  assert.equal(of('x=a, b', 'y=1=c'), { x: ['a', 'b'], 'y=1': ['c'] })
  const errors = [
    [['a,b'], '--input: expected NAME=a,b, the columns of a model input, found "a,b"'],
    [['x=a', 'x=b'], '--input: expected each input once, found x=a x=b'],
    [['x=a,a'], '--input: expected different names separated by commas, found "a,a"'],
  ] as const
  for (const [input, message] of errors) assert.is((await errorOf(() => of(...input))).message, message)
})

test('numbers of masks', async () => {
  const of = (maskValues: string) => dataOptions({ holdOut: 0, seed: 0, maskValues }).maskValues
  assert.equal(of('0,255'), [0, 255])
  for (const text of ['0,0', '-1', '0.5', '65536']) {
    const error = await errorOf(() => of(text))
    assert.match(error.message, /^--mask-values: expected different whole numbers from 0 to 65535/)
  }
})

test.run()
