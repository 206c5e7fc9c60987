/** Images in Parquet files as the library datasets writes them, with the pixels that Pillow decodes. */

import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { openDataset, openTrainAndVal } from '../../src/data/open.ts'
import { writeTree } from './files.ts'

const FOLDER = join(import.meta.dirname, '../../fixtures/data/tables')
const PARQUET = join(FOLDER, 'images.parquet')
const EXPECTED = JSON.parse(readFileSync(join(FOLDER, 'images.json'), 'utf8')) as {
  readonly names: string[]
  readonly rows: readonly { readonly dims: number[]; readonly pixels: number[]; readonly label: number }[]
}

test('pixels, labels and the names of classes', async () => {
  const dataset = await openDataset(PARQUET)
  assert.equal(dataset.classes, EXPECTED.names)
  assert.is(dataset.length, EXPECTED.rows.length)
  for (const [i, { dims, pixels, label }] of EXPECTED.rows.entries()) {
    assert.is(dataset.label(i), label)
    const [image] = (await dataset.load(i)).inputs
    assert.equal(image!.dims, dims)
    const png = i % 2 === 0
    const largest = Math.max(...pixels.map((pixel, at) => Math.abs(pixel - image!.data[at]!)))
    // JPEG leaves the last bit of a level to the decoder.
    assert.ok(largest <= (png ? 0 : 2), `image ${i}: off by ${largest}`)
  }
})

test('the folders that the hub lays out are the parts', async () => {
  const root = writeTree({})
  mkdirSync(join(root, 'data'))
  copyFileSync(PARQUET, join(root, 'data/train-00000-of-00001.parquet'))
  copyFileSync(PARQUET, join(root, 'data/test-00000-of-00001.parquet'))
  const [train, val] = await openTrainAndVal(root)
  assert.equal([train.length, val.length], [8, 8])
  assert.equal(val.classes, EXPECTED.names)
})

test('an image that does not decode is named by its row', async () => {
  const root = writeTree({})
  const bytes = readFileSync(PARQUET)
  const at = bytes.indexOf(Buffer.from('IHDR'))
  bytes.fill(0xff, at, at + 8)
  const path = join(root, 'broken.parquet')
  writeFileSync(path, bytes)
  const dataset = await openDataset(path)
  try {
    await dataset.load(0)
    assert.unreachable('decoded')
  } catch (error) {
    assert.match((error as Error).message, /broken\.parquet, row 0 \(0\.png\): /)
  }
})

test.run()
