/** Arrays of NumPy as checkpoints: the tensors that safetensors holds of the same weights. */

import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { planAverage } from '../../src/averaging/index.ts'
import { openNpzTensors } from '../../src/averaging/npz-tensors.ts'
import { openSafetensors } from '../../src/serde/index.ts'

const FOLDER = join(import.meta.dirname, '../../fixtures/averaging/torch')

for (const name of ['plain-1.npz', 'packed-1.npz']) {
  test(`${name} has the tensors that safetensors has`, async () => {
    const [arrays, expected] = [
      await openNpzTensors(join(FOLDER, name)),
      await openSafetensors(join(FOLDER, 'plain-1.safetensors')),
    ]
    const names = [...expected.tensors.keys()].filter(key => key !== 'brain').sort()
    assert.equal([...arrays.tensors.keys()].sort(), names)
    for (const key of names) {
      const [a, b] = [arrays.tensors.get(key)!, expected.tensors.get(key)!]
      assert.equal([a.dtype, [...a.dims]], [b.dtype, [...b.dims]], key)
      assert.equal([...(await a.bytes())], [...(await b.bytes())], key)
    }
    await arrays.close()
    await expected.close()
  })
}

test('an archive of arrays is told from one of PyTorch', async () => {
  const plan = await planAverage([join(FOLDER, 'plain-1.npz')])
  assert.is(plan.files[0]!.format, 'npz')
  const other = await planAverage([join(FOLDER, 'plain-1.pt')])
  assert.is(other.files[0]!.format, 'torch')
})

test.run()
