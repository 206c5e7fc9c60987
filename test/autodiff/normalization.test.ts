/** Gradients of the normalizations by finite differences, and what replaces BatchNormalization in training. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { batchNormTrain } from '../../src/autodiff/composites.ts'
import { pullBack } from '../../src/autodiff/driver.ts'
import { RULES } from '../../src/autodiff/index.ts'
import { COMPOSITE_LOWERINGS, lowerComposites } from '../../src/autodiff/lowering/index.ts'
import { toTrainingBatchNorm } from '../../src/autodiff/training-batch-norm.ts'
import { float, int, type Attribute } from '../../src/ir/attribute.ts'
import { Builder } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Node } from '../../src/ir/node.ts'
import { printNode } from '../../src/ir/print.ts'
import { Value } from '../../src/ir/value.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { testRows } from '../support/check-grads.ts'
import { normalizationRows } from './rows/normalization.ts'
import { assertClose } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { runModel } from '../support/ort.ts'

const lower = (graph: Graph) => lowerComposites(graph, COMPOSITE_LOWERINGS)

testRows(test, normalizationRows)

const SHAPE = [2, 2, 2]
const NUMBERS = [1, 2, 4, 8, -1, 3, 0, 2]

/** A BatchNormalization node over x, as a graph. */
function batchNorm(outputs: number, attributes: [string, Attribute][]): Graph {
  const graph = new Graph('bn')
  graph.inputs = [
    Value.typed('x', 'float32', SHAPE),
    ...['scale', 'bias', 'mean', 'var'].map(name => Value.typed(name, 'float32', [2])),
  ]
  const shapes = [SHAPE, [2], [2], [2], [2]].slice(0, outputs)
  const made = shapes.map((shape, i) => Value.typed(`y${i}`, 'float32', shape))
  graph.nodes = [
    new Node('BatchNormalization', graph.inputs, made, { name: 'bn', attributes: new Map(attributes) }),
  ]
  graph.outputs = [made[0]!]
  return graph
}

const FORMS: [form: string, outputs: number, attributes: [string, Attribute][]][] = [
  ['inference', 1, []],
  ['training_mode = 1', 3, [['training_mode', int(1)]]],
  ['five outputs', 5, []],
]

for (const [form, outputs, attributes] of FORMS) {
  test(`toTrainingBatchNorm replaces the ${form} form`, async () => {
    const graph = batchNorm(outputs, [...attributes, ['epsilon', float(0.5)], ['momentum', float(0.75)]])
    const y = graph.outputs[0]!
    const op = new Builder(['x', 'y0'])
    const found = toTrainingBatchNorm(graph.nodes[0]!, op)
    assert.is(y.producer, found.node)
    assert.equal(
      [found.momentum, found.count, found.runningMean.name, found.runningVariance.name],
      [0.75, 4, 'mean', 'var'],
    )
    graph.nodes = op.nodes
    graph.outputs = [y, found.mean, found.variance]
    const model = new Model(lower(graph), 8, new Map([['', 18]]))
    model.graph.inputs.length = 3
    const tensor = (dims: number[], values: number[]) => Tensor.of('float32', dims, values)
    const results = await runModel(model, {
      x: tensor(SHAPE, NUMBERS),
      scale: tensor([2], [2, 1]),
      bias: tensor([2], [0, 1]),
    })
    // Channel 0 holds 1, 2, -1, 3; channel 1 holds 4, 8, 0, 2.
    const mean = [1.25, 3.5]
    const variance = [2.1875, 8.75]
    assertClose(results[found.mean.name]!.toNumbers(), mean, { relative: 1e-6 }, 'mean')
    assertClose(results[found.variance.name]!.toNumbers(), variance, { relative: 1e-6 }, 'variance')
    const expected = NUMBERS.map((x, i) => {
      const c = (i >> 1) & 1
      return ((x - mean[c]!) / Math.sqrt(variance[c]! + 0.5)) * [2, 1][c]! + [0, 1][c]!
    })
    assertClose(results.y0!.toNumbers(), expected, { relative: 1e-5, absolute: 1e-6 }, 'y')
  })
}

test('the training form itself is refused', async () => {
  const graph = batchNorm(3, [['training_mode', int(1)]])
  const y = graph.outputs[0]!
  const seeds = new Map([[y, Value.typed('dy', 'float32', SHAPE)]])
  const error = await errorOf(() =>
    pullBack(new Builder(), graph.nodes, seeds, [graph.inputs[0]!], { rules: RULES, opset: 18 }),
  )
  assert.is(
    error.message,
    'gradient: BatchNormalization "bn" is in training form, expected BatchNormTrain in its place',
  )
})

test('LayerNormalization whose statistics are used is refused', async () => {
  const op = new Builder(['x', 'scale'])
  const [x, scale] = [Value.typed('x', 'float32', [2, 3]), Value.typed('scale', 'float32', [3])]
  const outputs = [{ shape: [2, 3] }, { shape: [2, 1] }]
  const [, mean] = op.emit('LayerNormalization', [x, scale], outputs)
  const seeds = new Map([[mean!, Value.typed('dmean', 'float32', [2, 1])]])
  const error = await errorOf(() => pullBack(op, [...op.nodes], seeds, [x], { rules: RULES, opset: 18 }))
  assert.is(
    error.message,
    'gradient: Mean and InvStdDev of LayerNormalization "LayerNormalization_0" are used, expected only Y',
  )
})

test('only a BatchNormalization node can be replaced', async () => {
  const x = Value.typed('x', 'float32', [1])
  const node = new Node('Relu', [x], [Value.typed('y', 'float32', [1])], { name: 'r' })
  assert.is(
    (await errorOf(() => toTrainingBatchNorm(node, new Builder()))).message,
    'Relu "r": expected a BatchNormalization node',
  )
})

test('frozen scale and bias ask for no gradient', () => {
  const op = new Builder(['x', 'scale', 'bias', 'dy'])
  const [x, scale, bias] = [SHAPE, [2], [2]].map((shape, i) =>
    Value.typed(['x', 'scale', 'bias'][i]!, 'float32', shape),
  )
  const { y } = batchNormTrain(op, { x: x!, scale: scale!, bias: bias! }, 0.5)
  const seeds = new Map([[y, Value.typed('dy', 'float32', SHAPE)]])
  pullBack(op, [...op.nodes], seeds, [bias!], { rules: RULES, opset: 18 })
  assert.is(
    printNode(op.nodes[1]!),
    '_, _, bias_grad<float32,[2]> = swa.composite.BatchNormTrainGrad {epsilon=0.5} (dy, x, scale, BatchNormTrain_0:1, BatchNormTrain_0:2)',
  )
  const graph = new Graph('bias')
  graph.inputs = [x!, scale!, bias!, ...seeds.values()]
  graph.nodes = op.nodes
  graph.outputs = [op.nodes[1]!.outputs[2]!]
  // The statistics remain; nothing of x is read for dbias.
  assert.equal(
    lower(graph)
      .nodes.filter(node => node.name.includes('Grad'))
      .map(printNode),
    ['bias_grad<float32,[2]> = ReduceSum {keepdims=0} (dy, const_0)'],
  )
})

test.run()
