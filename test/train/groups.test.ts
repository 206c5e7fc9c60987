/** Parameter groups: which weights decay, which layer they are of, and that plan and program agree on it. */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { deserializeModel } from '../../src/serde/index.ts'
import { groupsWithin, groupWeights } from '../../src/train/groups.ts'
import { headWeights } from '../../src/train/last-layer.ts'
import { blockOf, layerLevels } from '../../src/train/layer-levels.ts'
import { prepareTraining } from '../../src/train/prepare.ts'
import { DEFAULT_TRAINING } from '../../src/train/training-settings.ts'
import { planWeights, planWeightsOf } from '../../src/train/weight-plan.ts'
import { buildModel, randoms } from '../passes/support/build.ts'
import { errorOf } from '../support/errors.ts'
import { MODELS } from '../support/training.ts'

/** Two named blocks between a stem and a head, whose first matrix has lost its name to the exporter. */
const blocks = buildModel({
  inputs: { x: [2, 4] },
  weights: {
    'stem.weight': randoms([4, 4]),
    'stem.bias': randoms([4]),
    'onnx::MatMul_7': randoms([4, 4]),
    'encoder.layer.0.out.bias': randoms([4]),
    'encoder.layer.1.out.weight': randoms([4, 4]),
    'encoder.layer.1.scale': randoms([1, 4]),
    'head.weight': randoms([4, 1]),
    'head.bias': randoms([1]),
  },
  nodes: [
    ['Gemm', ['x', 'stem.weight', 'stem.bias'], ['a']],
    ['MatMul', ['a', 'onnx::MatMul_7'], ['b']],
    ['Add', ['b', 'encoder.layer.0.out.bias'], ['c']],
    ['MatMul', ['c', 'encoder.layer.1.out.weight'], ['d']],
    ['Mul', ['d', 'encoder.layer.1.scale'], ['e']],
    ['Relu', ['e'], ['f']],
    ['MatMul', ['f', 'head.weight'], ['g']],
    ['Add', ['g', 'head.bias'], ['y']],
  ],
  outputs: ['y'],
})
const weights = blocks.graph.initializers.map(value => ({ name: value.name, value }))

test('the block in a name', () => {
  const rows: readonly [string, string | null][] = [
    ['bert.encoder.layer.3.attention.self.query.weight', 'bert.encoder.layer.3'],
    ['blocks.11.mlp.fc1.weight', 'blocks.11'],
    ['encoder.layers.encoder_layer_3.mlp.0.weight', 'encoder.layers.encoder_layer_3'],
    ['encoder.block.3.layer.0.SelfAttention.q.weight', 'encoder.block.3'],
    ['transformer.h.2.attn.c_attn.weight', 'transformer.h.2'],
    ['layer1.0.conv1.weight', 'layer1.0'],
    ['layer1.0.downsample.0.weight', 'layer1.0'],
    ['stages.2.blocks.3.dwconv.weight', 'stages.2.blocks.3'],
    ['features.5.0.block.2.weight', 'features.5.0'],
    ['features.0.1.weight', 'features.0'],
    ['features.28.weight', 'features.28'],
    ['features.denseblock1.denselayer2.norm1.weight', 'features.denseblock1.denselayer2'],
    ['conv1.weight', null],
    ['bn1.bias', null],
    ['onnx::MatMul_123', null],
    ['cls_token', null],
  ]
  for (const [name, block] of rows) assert.is(blockOf(name), block, name)
})

test('layers: stem, blocks, head; what has lost its name is of the block it stands in', () => {
  assert.equal(Object.fromEntries(layerLevels(blocks.graph, weights)), {
    'stem.weight': 0,
    'stem.bias': 0,
    'onnx::MatMul_7': 0,
    'encoder.layer.0.out.bias': 1,
    'encoder.layer.1.out.weight': 2,
    'encoder.layer.1.scale': 2,
    'head.weight': 3,
    'head.bias': 3,
  })
})

test('a model without names is cut by depth', () => {
  const chain = buildModel({
    inputs: { x: [2, 4] },
    weights: Object.fromEntries(Array.from({ length: 24 }, (_, i) => [`w${i}`, randoms([4, 4])])),
    nodes: Array.from({ length: 24 }, (_, i) => [
      'MatMul',
      [i === 0 ? 'x' : `h${i - 1}`, `w${i}`],
      [i === 23 ? 'y' : `h${i}`],
    ]),
    outputs: ['y'],
  })
  const named = chain.graph.initializers.map(value => ({ name: value.name, value }))
  const levels = [...layerLevels(chain.graph, named).values()]
  // Depth d of 24 in twelve layers; the last is a layer of its own.
  assert.equal(levels, [...Array.from({ length: 23 }, (_, i) => Math.floor((i + 1) / 2)), 12])
})

test('biases and scales do not decay, matrices of one column do; patterns and layers change rates', () => {
  const find = (groups: ReturnType<typeof groupWeights>, name: string) => {
    const { lr, weightDecay } = groups.find(({ parameters }) => parameters.includes(name))!
    return { lr, weightDecay }
  }
  const plain = groupWeights(blocks.graph, weights, 0.1, DEFAULT_TRAINING)
  const decaying = plain.filter(({ weightDecay }) => weightDecay > 0).flatMap(group => group.parameters)
  assert.equal(decaying, ['stem.weight', 'onnx::MatMul_7', 'encoder.layer.1.out.weight', 'head.weight'])
  const all = groupWeights(blocks.graph, weights, 0.1, { ...DEFAULT_TRAINING, decayAll: true })
  assert.equal(
    all.map(({ weightDecay, parameters }) => [weightDecay, parameters.length]),
    [[0.1, weights.length]],
  )
  const groups = groupWeights(blocks.graph, weights, 0.1, {
    ...DEFAULT_TRAINING,
    layerDecay: 0.5,
    lrOf: [
      { pattern: '*', value: 2 },
      { pattern: 'head.*', value: 10 },
    ],
    weightDecayOf: [{ pattern: '*bias', value: 0.3 }],
  })
  assert.equal(find(groups, 'stem.weight'), { lr: 2 / 8, weightDecay: 0.1 })
  assert.equal(find(groups, 'stem.bias'), { lr: 2 / 8, weightDecay: 0.3 })
  assert.equal(find(groups, 'encoder.layer.1.scale'), { lr: 2 / 2, weightDecay: 0 })
  assert.equal(find(groups, 'head.weight'), { lr: 10, weightDecay: 0.1 })
  assert.equal(
    groupsWithin(groups, new Set(['head.bias', 'stem.bias'])).map(({ parameters }) => parameters),
    [['stem.bias'], ['head.bias']],
  )
})

test('patterns that match nothing and numbers out of range are refused', async () => {
  const refused = async (settings: Partial<typeof DEFAULT_TRAINING>) =>
    (await errorOf(() => groupWeights(blocks.graph, weights, 0, { ...DEFAULT_TRAINING, ...settings })))
      .message
  assert.is(
    await refused({ lrOf: [{ pattern: 'haed.*', value: 1 }] }),
    'weights: --lr-of "haed.*" matches none of 8 weights',
  )
  assert.is(
    await refused({ weightDecayOf: [{ pattern: 'head.*', value: -1 }] }),
    '--weight-decay-of head.*=-1: expected a number of 0 or more',
  )
  assert.is(await refused({ layerDecay: 0 }), '--layer-decay: expected a number above 0 and up to 1, found 0')
})

test('the last layer: its matrix and what is added behind it', async () => {
  const logits = [blocks.graph.outputs[0]!]
  assert.equal([...headWeights(blocks.graph, weights, logits, [])], ['head.weight', 'head.bias'])
  assert.equal(
    [...headWeights(blocks.graph, weights, logits, ['*scale'])],
    ['encoder.layer.1.scale', 'head.weight', 'head.bias'],
  )
  const backbone = weights.filter(({ name }) => !name.startsWith('head'))
  const error = await errorOf(() => headWeights(blocks.graph, backbone, logits, []))
  assert.is(error.message, '--head-only: the last layer has no weights that are trained')
})

for (const name of readdirSync(MODELS)) {
  test(`${name}: the plan of the file is the plan of the training graph`, async () => {
    const read = () => deserializeModel(readFileSync(join(MODELS, name, 'model.onnx')), name)
    const settings = {
      ...DEFAULT_TRAINING,
      optimizer: { kind: 'sgd', momentum: 0, nesterov: false, weightDecay: 0.1 },
      layerDecay: 0.75,
      headOnly: { over: '1ep', also: [] },
      loss: 'auto',
      patterns: {},
    } as unknown as Parameters<typeof planWeightsOf>[1]
    const graph = await prepareTraining(cpuEngine(), await read(), { batchSize: 8 })
    const trained = planWeights(
      graph.model.graph,
      graph.parameters,
      () => graph.heads.map(({ logits }) => logits),
      settings,
      5,
    )
    assert.equal(trained, await planWeightsOf(await read(), settings, 5))
    const head = trained.headOnly!.weights
    assert.is(head.length, 2)
    for (const group of trained.groups.filter(({ after }) => after === 0))
      assert.equal([group.lr, group.parameters.every(weight => head.includes(weight))], [1, true])
  })
}

test.run()
