/** Names of checkpoints whose module was wrapped, and those of models that were. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { planAverage, runAverage } from '../../src/averaging/index.ts'
import { findRenaming, rename } from '../../src/averaging/renaming.ts'
import { loadModel, saveModel, writeSafetensors } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { buildModel, floats } from '../passes/support/build.ts'
import { errorOf } from '../support/errors.ts'

const found = (names: string[], places: string[]) => findRenaming(names, places, () => true, 'a.pt', 'm.onnx')

test('prefixes go and come, the same for all names', () => {
  const plain = ['fc.weight', 'fc.bias']
  const with_ = (prefix: string) => plain.map(name => prefix + name)
  assert.equal(found(plain, plain), { remove: '', add: '' })
  assert.equal(found(with_('module.'), plain), { remove: 'module.', add: '' })
  assert.equal(found(with_('module._orig_mod.'), plain), { remove: 'module._orig_mod.', add: '' })
  assert.equal(found(plain, with_('model.')), { remove: '', add: 'model.' })
  assert.equal(found(with_('module.'), with_('model.')), { remove: 'module.', add: 'model.' })
  // A name of the net's own that looks like a wrapper stays.
  assert.equal(found(['model.fc'], ['model.fc', 'fc']), { remove: '', add: '' })
  // No way for all: the names stay, and the caller says which has no place.
  assert.equal(found(['module.fc', 'head'], ['fc', 'head']), { remove: '', add: '' })
  assert.is(rename('n_averaged', { remove: 'module.', add: '' }), 'n_averaged')
})

test('prefixes of any name, of most names, of those that fit', async () => {
  assert.equal(found(['backbone.a.w', 'backbone.b.w'], ['a.w', 'b.w', 'c.w']), {
    remove: 'backbone.',
    add: '',
  })
  assert.equal(found(['a.w', 'b.w'], ['encoder.x.a.w', 'encoder.x.b.w']), { remove: '', add: 'encoder.x.' })
  assert.equal(found(['t.a.w', 't.b.w'], ['s.a.w', 's.b.w', 'b.w']), { remove: 't.', add: 's.' })
  // A name without a place, as exporters leave them, does not keep the others from theirs.
  assert.equal(found(['m.a.w', 'm.b.w', 'm.c.w'], ['a.w', 'b.w', 'onnx::MatMul_4']), {
    remove: 'm.',
    add: '',
  })
  assert.equal(found(['m.a.w', 'm.b.w'], ['a.w', 'onnx::MatMul_4']), { remove: '', add: '' })
  // Of two parts of the model the whole one.
  assert.equal(found(['a.w', 'b.w'], ['s.a.w', 's.b.w', 'other.a.w']), { remove: '', add: 's.' })
  // Of two of the same names that whose shapes fit.
  const places = ['s.a.w', 's.b.w', 't.a.w', 't.b.w']
  const fitting = (_: string, place: string) => place.startsWith('t.')
  assert.equal(findRenaming(['a.w', 'b.w'], places, fitting, 'a.pt', 'm.onnx'), { remove: '', add: 't.' })
  const both = await errorOf(() => found(['a.w', 'b.w'], places))
  assert.is(both.message, 'average: a.pt: tensor "a.w" has several places in m.onnx: "s.a.w", "t.a.w"')
  // Half of the names here and half of them there is no way for all.
  const torn = await errorOf(() => found(['a.w', 'b.w', 'c.w', 'd.w'], ['s.a.w', 's.b.w', 't.c.w', 't.d.w']))
  assert.is(
    torn.message,
    'average: a.pt: tensors have places in m.onnx by different prefixes: "a.w" is "s.a.w", "c.w" is "t.c.w"',
  )
})

test('hostile names cost no more than others', () => {
  const dots = '.'.repeat(100_000)
  const start = performance.now()
  assert.equal(found([dots, `${dots}a`], [`${dots}b`, 'c']), { remove: '', add: '' })
  assert.ok(performance.now() - start < 1000)
})

test('several places are refused', async () => {
  const error = await errorOf(() => found(['fc'], ['model.fc', 'net.fc']))
  assert.is(error.message, 'average: a.pt: tensor "fc" has several places in m.onnx: "model.fc", "net.fc"')
})

test('an average of wrapped checkpoints is written into the model', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'swa-names-'))
  const file = (name: string) => join(folder, name)
  try {
    const model = buildModel({
      inputs: { x: ['n', 2] },
      weights: { 'fc.weight': floats([2, 2], [0, 0, 0, 0]), 'fc.bias': floats([2], [0, 0]) },
      nodes: [['Gemm', ['x', 'fc.weight', 'fc.bias'], ['y']]],
      outputs: ['y'],
    })
    await saveModel(model, file('model.onnx'))
    for (const [name, shift] of [
      ['a', 0],
      ['b', 3],
    ] as const) {
      await writeSafetensors(file(name), [
        ['module.fc.weight', Tensor.of('float32', [2, 2], [1, 2, 3, 4 + shift])],
        ['module.fc.bias', Tensor.of('float32', [2], [shift, 1])],
        ['n_averaged', Tensor.of('int64', [], [5n])],
      ])
    }
    const plan = await planAverage([file('a'), file('b')], { into: file('model.onnx') })
    assert.equal(plan.tensors.map(({ name, place, policy }) => [name, place, policy]).sort(), [
      ['module.fc.bias', 'fc.bias', 'average'],
      ['module.fc.weight', 'fc.weight', 'average'],
      ['n_averaged', undefined, 'drop'],
    ])
    await runAverage(plan, file('out.onnx'))
    const out = await loadModel(file('out.onnx'))
    const numbers = await Promise.all(
      out.model.graph.initializers.map(async ({ tensor }) => (await tensor!.load()).toNumbers()),
    )
    await out.close()
    assert.equal(numbers, [
      [1, 2, 3, 5.5],
      [1.5, 1],
    ])
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test.run()
