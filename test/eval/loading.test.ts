import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { openDataset, type Dataset, type Field, type ImageTransforms } from '../../src/data/index.ts'
import { transformsForInputs, type ImageOptions, type InputSpec } from '../../src/eval/loading.ts'
import { errorOf } from '../support/errors.ts'

const FIXTURES = fileURLToPath(new URL('../../fixtures/data', import.meta.url))

const photos: Field = { name: '0', layout: 'HWC', dims: null, dtype: 'uint8', range: null }
const dataset = (field: Field) => ({ name: 'data', fields: [field] }) as unknown as Dataset
const input = (...shape: InputSpec['shape']): InputSpec => ({ name: 'x', dtype: 'float32', shape })

const transform = (spec: InputSpec, options: ImageOptions) =>
  transformsForInputs(dataset(photos), [spec], options)['0'] as ImageTransforms

test('size fills in what the model leaves open, in either layout', () => {
  const size = { height: 48, width: 192 }
  for (const shape of [
    ['n', 3, 'h', 'w'],
    ['n', 'h', null, 3],
    ['n', 3, 48, null],
  ]) {
    const { resize, crop } = transform(input(...shape), { size })
    assert.equal([resize, crop], [size, null], shape.join())
  }
})

test('a size that the model does not take is refused with what it takes', async () => {
  const size = { height: 48, width: 192 }
  const found = (spec: InputSpec) => errorOf(() => transform(spec, { size }))
  assert.is(
    (await found(input('n', 3, 224, 224))).message,
    '--size: expected 224x224, which input "x" of the model takes, found 48x192',
  )
  assert.is(
    (await found(input('n', 3, 'h', 100))).message,
    '--size: expected anyx100, which input "x" of the model takes, found 48x192',
  )
  assert.is((await found(input('n', 40))).message, '--size: input "x" [n,40] takes no images')
})

test('mean and std replace those of the preset; one number serves all channels', () => {
  const by = (options: ImageOptions) => transform(input('n', 3, 32, 32), options)
  assert.equal([by({}).mean, by({ preset: 'none' }).mean], [[0.485, 0.456, 0.406], [0]])
  const { mean, std } = by({ mean: [0.5], std: [0.1, 0.2, 0.3] })
  assert.equal([mean, std], [[0.5], [0.1, 0.2, 0.3]])
})

test('a mean for another number of channels is refused', async () => {
  const error = await errorOf(() => transform(input('n', 3, 32, 32), { mean: [0.5, 0.5], std: [1] }))
  assert.is(error.message, '--mean: expected one number, or one for each of 3 channels, found 2')
})

test('data with parts give their usual part where none is asked for', async () => {
  const path = join(FIXTURES, 'npz/keras.npz')
  const [train, val] = [await openDataset(path), await openDataset(path, { usual: 'val' })]
  const [asked, test] = [
    await openDataset(path, { split: 'train', usual: 'val' }),
    await openDataset(path, { split: 'test' }),
  ]
  assert.is.not(train.length, val.length)
  assert.equal([asked.length, test.length], [train.length, val.length])
})

test.run()
