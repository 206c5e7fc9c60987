/** Checkpoints in several safetensors files: the average is that of the same tensors in one. */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { listCheckpoints, planAverage, runAverage } from '../../src/averaging/index.ts'
import { openSafetensors, writeSafetensors } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { errorOf } from '../support/errors.ts'

const root = mkdtempSync(join(tmpdir(), 'swa-shards-'))
const at = (name: string) => join(root, name)

test.after(() => {
  rmSync(root, { recursive: true })
})

const INDEX = 'model.safetensors.index.json'
const parts = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']

async function write(folder: string, shift: number): Promise<void> {
  mkdirSync(at(folder))
  const tensors: [string, Tensor][] = [
    ['a', Tensor.of('float32', [2], [1 + shift, 2])],
    ['b', Tensor.of('float16', [1], [0x3c00 + shift])],
    ['c', Tensor.of('float32', [1], [shift])],
  ]
  await writeSafetensors(at(`${folder}/whole`), tensors)
  await writeSafetensors(at(`${folder}/${parts[0]!}`), tensors.slice(0, 1))
  await writeSafetensors(at(`${folder}/${parts[1]!}`), tensors.slice(1))
  const map = { a: parts[0], b: parts[1], c: parts[1] }
  writeFileSync(at(`${folder}/${INDEX}`), JSON.stringify({ metadata: { total_size: 14 }, weight_map: map }))
}

test('parts average as the whole does, and a folder of them is one checkpoint', async () => {
  await write('x', 0)
  await write('y', 2)
  const sharded = await listCheckpoints([at('x'), at('y')])
  assert.equal(sharded, [at(`x/${INDEX}`), at(`y/${INDEX}`)])
  const results = []
  for (const paths of [sharded, [at('x/whole'), at('y/whole')]]) {
    const out = at(`out-${results.length}`)
    await runAverage(await planAverage(paths), out)
    const file = await openSafetensors(out)
    const bytes = await Promise.all(
      [...file.tensors].map(async ([name, tensor]) => [name, tensor.dtype, [...(await tensor.bytes())]]),
    )
    results.push(bytes.sort())
    await file.close()
  }
  assert.is(results[0]!.length, 3)
  assert.equal(results[0], results[1])
})

test('a part that changes after planning is noticed', async () => {
  const plan = await planAverage([at(`x/${INDEX}`)])
  await writeSafetensors(at(`x/${parts[0]!}`), [['a', Tensor.of('float32', [3], [1, 2, 3])]])
  const error = await errorOf(runAverage(plan, at('late')))
  assert.match(error.message, /has changed since the average was planned/)
})

test('an index that points elsewhere or at nothing is refused', async () => {
  const cases: [unknown, RegExp][] = [
    [{ a: '../y/whole' }, /expected the name of a file beside the index, found "\.\.\/y\/whole"$/],
    [{ a: '/etc/passwd' }, /expected the name of a file beside the index/],
    [{ a: '..' }, /expected the name of a file beside the index/],
    [{ a: 5 }, /expected the name of a file beside the index, found 5$/],
    [{ z: parts[1] }, /tensor "z" is not in /],
    [{ a: 'none.safetensors' }, /none\.safetensors/],
    [[], /it has no weight_map$/],
  ]
  for (const [map, message] of cases) {
    const path = at(`y/bad.safetensors.index.json`)
    writeFileSync(path, JSON.stringify({ weight_map: map }))
    assert.match((await errorOf(planAverage([path]))).message, message)
  }
})

test.run()
