/** Gradients of the poolings by finite differences and, for ties, in closed form; PyTorch's are in fixtures.test.ts. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { pullBack } from '../../src/autodiff/driver.ts'
import { RULES } from '../../src/autodiff/index.ts'
import { COMPOSITE_LOWERINGS, lowerComposites } from '../../src/autodiff/lowering/index.ts'
import { Builder, type Attributes } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import type { Shape } from '../../src/tensor/shape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { checkGrads, rowName, type GradRow } from '../support/check-grads.ts'
import { errorOf } from '../support/errors.ts'
import { runModel } from '../support/ort.ts'

const lower: GradRow['lower'] = graph => lowerComposites(graph, COMPOSITE_LOWERINGS)

const maxPool = (shape: Shape, attributes: Attributes): GradRow => ({
  op: 'MaxPool',
  inputs: [shape],
  attributes,
  lower,
})

/** Linear, and without a float64 kernel. */
const averagePool = (shape: Shape, attributes: Attributes): GradRow => ({
  ...maxPool(shape, attributes),
  op: 'AveragePool',
  dtype: 'float32',
  delta: 0.5,
  tolerance: 3e-5,
})

const X = [2, 3, 7, 6]

const windows: [Shape, Attributes][] = [
  [X, { kernel_shape: [2, 2], strides: [2, 2] }],
  [X, { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }],
  [X, { kernel_shape: [3, 2], strides: [1, 3], pads: [0, 1, 2, 0] }],
  [X, { kernel_shape: [3, 2], strides: [2, 4], pads: [1, 0, 0, 1], ceil_mode: 1 }],
  [X, { kernel_shape: [2, 3], strides: [3, 3], pads: [1, 1, 1, 1], ceil_mode: 1 }],
  [X, { kernel_shape: [2, 2], strides: [1, 2], dilations: [3, 2], pads: [1, 0, 1, 1] }],
  [X, { kernel_shape: [2, 3], strides: [2, 2], dilations: [2, 2], ceil_mode: 1, pads: [1, 1, 1, 1] }],
  [X, { kernel_shape: [4, 3], strides: [3, 2], auto_pad: 'SAME_UPPER' }],
  [X, { kernel_shape: [4, 3], strides: [3, 2], auto_pad: 'SAME_LOWER' }],
  [X, { kernel_shape: [2, 2], strides: [3, 4], auto_pad: 'VALID' }],
  [[1, 2, 6, 7], { kernel_shape: [1, 1], strides: [3, 5], auto_pad: 'SAME_LOWER' }],
  [[1, 2, 6, 7], { kernel_shape: [1, 1], strides: [3, 5], auto_pad: 'SAME_UPPER' }],
  [[2, 3, 9], { kernel_shape: [4], strides: [2], pads: [2, 1] }],
  [[1, 2, 5, 4, 5], { kernel_shape: [2, 3, 2], strides: [2, 1, 3], pads: [0, 1, 1, 1, 1, 0], ceil_mode: 1 }],
]

const rows: GradRow[] = [
  ...windows.map(([shape, attributes]) => maxPool(shape, attributes)),
  maxPool(X, { kernel_shape: [3, 3], strides: [2, 2], storage_order: 1 }),
  ...windows.flatMap(([shape, attributes]) =>
    [0, 1].map(count_include_pad => averagePool(shape, { ...attributes, count_include_pad })),
  ),
  ...[[2, 3, 5], X, [1, 2, 3, 4, 2]].flatMap((shape): GradRow[] => [
    { op: 'GlobalAveragePool', inputs: [shape], dtype: 'float32', delta: 0.5, tolerance: 3e-5 },
    { op: 'GlobalMaxPool', inputs: [shape], dtype: 'float32' },
  ]),
]

for (const row of rows) test(rowName(row), () => checkGrads(row))

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
