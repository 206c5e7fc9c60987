import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Node } from '../../src/ir/node.ts'
import {
  classifyWeights,
  freshNotes,
  matchesPattern,
  refuseQuantized,
  type WeightPatterns,
} from '../../src/passes/index.ts'
import { errorOf } from '../support/errors.ts'
import { buildModel, floats, int64s, randoms } from './support/build.ts'

const layers = buildModel({
  inputs: { x: ['N', 4] },
  weights: {
    'stem.w': randoms([4, 4]),
    'head.w': randoms([4, 4]),
    'head.b': randoms([4]),
    'head.factor': floats([], [2]),
    'head.axes': int64s(0),
  },
  nodes: [
    ['MatMul', ['x', 'stem.w'], ['a']],
    ['Gemm', ['a', 'head.w', 'head.b'], ['b']],
    ['Mul', ['b', 'head.factor'], ['c']],
    ['Unsqueeze', ['c', 'head.axes'], ['y']],
  ],
  outputs: ['y'],
})

/** `name` of what is trained, `!name: reason` of parameters that are not. */
async function trained(patterns: WeightPatterns): Promise<string[]> {
  const infos = await classifyWeights(layers, patterns)
  return infos.flatMap(({ name, role, trainable, reason }) =>
    trainable ? [name] : role === 'parameter' ? [`!${name}: ${reason}`] : [],
  )
}

test('patterns: freeze, train wins over freeze, constant', async () => {
  assert.equal(await trained({}), ['stem.w', 'head.w', 'head.b'])
  assert.equal(await trained({ freeze: ['stem.*'] }), [
    '!stem.w: matrix of MatMul "MatMul_0"; frozen by --freeze "stem.*"',
    'head.w',
    'head.b',
  ])
  assert.equal(await trained({ freeze: ['*'], train: ['head.*'] }), [
    '!stem.w: matrix of MatMul "MatMul_0"; frozen by --freeze "*"',
    'head.w',
    'head.b',
  ])
  assert.equal(await trained({ constant: ['head.b'] }), ['stem.w', 'head.w'])
})

test('patterns: a new head trains under one for the whole model, not under one for it alone', async () => {
  const fresh = ['head.w', 'head.b']
  const names = ['stem.w', 'head.w', 'head.b', 'head.factor', 'head.axes']
  assert.equal(await trained({ freeze: ['*'], fresh }), [
    '!stem.w: matrix of MatMul "MatMul_0"; frozen by --freeze "*"',
    'head.w',
    'head.b',
  ])
  assert.equal(await trained({ freeze: ['*.w'], constant: ['*'], fresh }), [
    '!stem.w: matrix of MatMul "MatMul_0"; frozen by --freeze "*.w"',
    'head.w',
    'head.b',
  ])
  assert.equal(await trained({ freeze: ['*', 'head.{b,w}'], fresh }), [
    '!stem.w: matrix of MatMul "MatMul_0"; frozen by --freeze "*"',
    '!head.w: matrix of Gemm "Gemm_1"; frozen by --freeze "head.{b,w}"',
    '!head.b: bias of Gemm "Gemm_1"; frozen by --freeze "head.{b,w}"',
  ])
  assert.equal(freshNotes('--freeze', ['stem.*', '*.w', 'head.b'], names, fresh), [
    'the new head trains although --freeze "*.w" matches "head.w"; a pattern for it alone keeps it',
    '--freeze "head.b" keeps the new head as it was drawn: "head.b"',
  ])
})

test('patterns: train turns a constant into a parameter when it matches no parameter', async () => {
  assert.equal(await trained({ train: ['*.factor'] }), ['stem.w', 'head.w', 'head.b', 'head.factor'])
  assert.equal(await trained({ train: ['head.*'] }), ['stem.w', 'head.w', 'head.b'])
  const error = await errorOf(trained({ train: ['head.axes'] }))
  assert.is(
    error.message,
    'weights: --train "head.axes" matches nothing that can be trained ("head.axes": elements are int64)',
  )
  assert.is(error.exitCode, 2)
})

test('patterns: one that matches nothing is an error', async () => {
  const error = await errorOf(trained({ freeze: ['backbone.*'] }))
  assert.is(error.message, 'weights: --freeze "backbone.*" matches none of 5 weights')
  assert.is(error.cure, 'swa-onnx inspect lists the names; * stands for any text')
})

test('patterns match whole names', () => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    ['*', 'anything/at all', true],
    ['a.b', 'axb', false],
    ['a?b', 'a/b', true],
    ['a?b', 'a//b', false],
    ['conv{1,2}.*', 'conv2.weight', true],
    ['conv{1,2}.*', 'conv3.weight', false],
    ['conv', 'conv1', false],
    ['onnx::Conv_[1]', 'onnx::Conv_[1]', true],
    ['{open', '{open', true],
    ['*.{w*,b?}', 'x.weight', true],
    ['*.{w*,b?}', 'x.bias', false],
  ]
  for (const [pattern, name, expected] of cases)
    assert.is(matchesPattern(pattern, name), expected, `${pattern} ${name}`)
})

test('quantized graphs are refused by name', async () => {
  const model = buildModel({
    inputs: { x: [4] },
    weights: { s: floats([], [0.1]) },
    nodes: [
      ['QuantizeLinear', ['x', 's'], ['q']],
      ['DequantizeLinear', ['q', 's'], ['d']],
      ['DequantizeLinear', ['q', 's'], ['y']],
    ],
    outputs: ['y'],
  })
  const error = await errorOf(() => refuseQuantized(model))
  assert.is(
    error.message,
    'model: expected float weights, found a quantized graph (QuantizeLinear x 1, DequantizeLinear x 2; first QuantizeLinear "QuantizeLinear_0")',
  )
  assert.is(error.cure, 'use the float model it was made from, then quantize the result')
  const contrib = buildModel({ inputs: { x: [4] }, nodes: [['Relu', ['x'], ['y']]], outputs: ['y'] })
  refuseQuantized(contrib)
  const [y] = contrib.graph.outputs
  contrib.graph.nodes = [
    new Node('MatMulNBits', [contrib.graph.inputs[0]!], [y!], { name: 'm', domain: 'com.microsoft' }),
  ]
  assert.match(
    (await errorOf(() => refuseQuantized(contrib))).message,
    'MatMulNBits x 1; first com.microsoft.MatMulNBits "m"',
  )
})

test.run()
