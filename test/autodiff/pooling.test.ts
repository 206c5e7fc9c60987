/** Gradients of the poolings by finite differences and, for ties, in closed form; PyTorch's are in fixtures.test.ts. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { pullBack } from '../../src/autodiff/driver.ts'
import { RULES } from '../../src/autodiff/index.ts'
import { Builder, type Attributes } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { testRows } from '../support/check-grads.ts'
import { poolingRows } from './rows/pooling.ts'
import { errorOf } from '../support/errors.ts'
import { runModel } from '../support/ort.ts'

testRows(test, poolingRows)

test('GlobalMaxPool gives the whole gradient to the first of equal maxima', async () => {
  const op = new Builder(['x', 'dy'])
  const [x, dy] = [Value.typed('x', 'float32', [1, 2, 2, 3]), Value.typed('dy', 'float32', [1, 2, 1, 1])]
  const y = op.one('GlobalMaxPool', [x], { shape: dy.shape })
  const dx = pullBack(op, [...op.nodes], new Map([[y, dy]]), [x], { rules: RULES, opset: 18 }).get(x)!
  const graph = new Graph('ties')
  graph.inputs = [x, dy]
  graph.initializers = op.initializers
  graph.nodes = op.nodes
  graph.outputs = [dx]
  const found = await runModel(new Model(graph, 8, new Map([['', 18]])), {
    x: Tensor.of('float32', x.shape, [0, 3, 1, 3, 3, 2, -1, -1, -1, -1, -1, -1]),
    dy: Tensor.of('float32', dy.shape, [5, 7]),
  })
  assert.equal(found[dx.name]!.toNumbers(), [0, 5, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0])
})

test('windows that cannot be are refused', async () => {
  const message = async (attributes: Attributes) => {
    const op = new Builder(['x'])
    const x = Value.typed('x', 'float32', [1, 1, 4, 4])
    const y = op.one('MaxPool', [x], { shape: [1, 1, 2, 2] }, attributes)
    const seeds = new Map([[y, Value.typed('dy', 'float32', y.shape)]])
    const options = { rules: RULES, opset: 18 }
    return (await errorOf(() => pullBack(op, [...op.nodes], seeds, [x], options))).message
  }
  assert.is(await message({}), 'MaxPool "MaxPool_0": attribute kernel_shape is missing')
  assert.is(
    await message({ kernel_shape: [2, 2], pads: [1, 1] }),
    'MaxPool "MaxPool_0": attribute pads should have 4 values, found 2',
  )
  assert.is(
    await message({ kernel_shape: [2, 2], auto_pad: 'SAME' }),
    'MaxPool "MaxPool_0": attribute auto_pad should be one of NOTSET, VALID, SAME_UPPER, SAME_LOWER, found SAME',
  )
})

test.run()
