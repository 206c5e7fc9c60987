/** What `inspect` says of ties, heads and local functions. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { inspectModel } from '../../src/eval/inspect.ts'
import { describeInspection } from '../../src/eval/report.ts'
import { serializeModel } from '../../src/serde/index.ts'
import { buildModel, randoms } from '../passes/support/build.ts'

const folder = mkdtempSync(join(tmpdir(), 'swa-onnx-inspect-'))

test('a classifier is named as the head, and a matrix that two layers share as tied', async () => {
  const model = buildModel({
    inputs: { x: ['N', 4] },
    weights: { shared: randoms([4, 4]), 'head.weight': randoms([3, 4]), 'head.bias': randoms([3]) },
    nodes: [
      ['MatMul', ['x', 'shared'], ['a']],
      ['Relu', ['a'], ['b']],
      ['MatMul', ['b', 'shared'], ['c']],
      ['Gemm', ['c', 'head.weight', 'head.bias'], ['y'], { transB: 1 }],
    ],
    outputs: ['y'],
  })
  const path = join(folder, 'tied.onnx')
  writeFileSync(path, await serializeModel(model))
  const inspection = await inspectModel(path)
  assert.equal(inspection.head?.classes, 3)
  assert.equal(inspection.head?.weights, ['head.weight', 'head.bias'])
  const tied = inspection.weights.find(({ name }) => name === 'shared')!
  assert.is(tied.usedBy.length, 2)
  const text = describeInspection(inspection, { weights: false })
  assert.match(text, /^tied +shared is read by MatMul .*, MatMul/m)
  assert.match(text, /^head +3 classes by Gemm .*\(head\.weight, head\.bias\)$/m)
})

test('a model without a classifier has no head', async () => {
  const model = buildModel({
    inputs: { x: ['N', 4] },
    weights: {},
    nodes: [['Relu', ['x'], ['y']]],
    outputs: ['y'],
  })
  const path = join(folder, 'plain.onnx')
  writeFileSync(path, await serializeModel(model))
  assert.is((await inspectModel(path)).head, null)
})

test.after(() => rmSync(folder, { recursive: true, force: true }))

test.run()
