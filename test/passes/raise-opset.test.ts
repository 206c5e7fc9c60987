import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Tensor } from '../../src/tensor/tensor.ts'
import { buildModel, f, floats, int64s, randoms, type NodeRow, type Parts } from './support/build.ts'
import { assertRaises } from './support/raises.ts'

interface Row extends Omit<Parts, 'nodes' | 'inputs' | 'outputs'> {
  readonly title: string
  readonly node: NodeRow | readonly NodeRow[]
  /** Shape of the input x. */
  readonly x: readonly number[]
  readonly opset: number
  readonly outputs?: readonly string[]
  /** The operators that come out, where they are not the one that went in. */
  readonly becomes?: readonly string[]
  readonly feed?: Tensor
  /** Leaves the rank of x to be found out. */
  readonly symbolic?: boolean
}

const rows: readonly Row[] = [
  {
    title: 'Slice-1',
    opset: 9,
    x: [4, 6],
    node: ['Slice', ['x'], ['y'], { starts: [1, -3], ends: [4, 99], axes: [0, 1] }],
  },
  {
    title: 'Slice-1 without axes',
    opset: 9,
    x: [4, 6],
    node: ['Slice', ['x'], ['y'], { starts: [1, 0], ends: [3, -1] }],
  },
  {
    title: 'Slice-1 to the end, which exporters write as the largest int64',
    opset: 9,
    x: [4, 6],
    node: [
      'Slice',
      ['x'],
      ['y'],
      { starts: [2], ends: { kind: 'ints', value: [9223372036854775807n] }, axes: [1] },
    ],
  },
  {
    title: 'TopK-1',
    opset: 9,
    x: [3, 5],
    node: ['TopK', ['x'], ['y', 'i'], { axis: 1, k: 2 }],
    outputs: ['y', 'i'],
  },
  {
    title: 'TopK-10 stays',
    opset: 10,
    x: [3, 5],
    weights: { k: int64s(2) },
    node: ['TopK', ['x', 'k'], ['y', 'i'], { axis: 0 }],
    outputs: ['y', 'i'],
  },
  { title: 'Clip-6', opset: 9, x: [3, 5], node: ['Clip', ['x'], ['y'], { min: f(-0.5), max: f(0.25) }] },
  { title: 'Clip-6 with max only', opset: 10, x: [3, 5], node: ['Clip', ['x'], ['y'], { max: f(0.25) }] },
  {
    title: 'Pad-2 constant',
    opset: 9,
    x: [2, 3],
    node: ['Pad', ['x'], ['y'], { pads: [1, 0, 0, 2], value: f(1.5) }],
  },
  {
    title: 'Pad-2 reflect',
    opset: 10,
    x: [2, 3],
    node: ['Pad', ['x'], ['y'], { pads: [0, 1, 0, 2], mode: 'reflect' }],
  },
  { title: 'Dropout-7', opset: 9, x: [2, 3], node: ['Dropout', ['x'], ['y'], { ratio: f(0.3) }] },
  {
    title: 'Dropout-10 without ratio',
    opset: 11,
    x: [2, 3],
    node: ['Dropout', ['x'], ['y', 'mask']],
  },
  { title: 'Squeeze-1', opset: 9, x: [1, 3, 1], node: ['Squeeze', ['x'], ['y'], { axes: [0] }] },
  { title: 'Squeeze-11 of all axes', opset: 12, x: [1, 3, 1], node: ['Squeeze', ['x'], ['y']] },
  { title: 'Unsqueeze-11', opset: 11, x: [3], node: ['Unsqueeze', ['x'], ['y'], { axes: [0, -1] }] },
  {
    title: 'ReduceSum-11',
    opset: 11,
    x: [2, 3, 4],
    node: ['ReduceSum', ['x'], ['y'], { axes: [1, -1], keepdims: 0 }],
  },
  { title: 'ReduceSum-1 of everything', opset: 9, x: [2, 3], node: ['ReduceSum', ['x'], ['y']] },
  {
    title: 'ReduceSum-13 stays',
    opset: 13,
    x: [2, 3],
    weights: { axes: int64s(1) },
    node: ['ReduceSum', ['x', 'axes'], ['y']],
  },
  ...[
    'ReduceMean',
    'ReduceMax',
    'ReduceMin',
    'ReduceProd',
    'ReduceL1',
    'ReduceL2',
    'ReduceLogSumExp',
    'ReduceSumSquare',
  ].map((opType): Row => ({
    title: `${opType}-13`,
    opset: 13,
    x: [2, 3, 4],
    node: [opType, ['x'], ['y'], { axes: [0, 2], keepdims: 1 }],
  })),
  {
    title: 'Split-2 in equal parts',
    opset: 9,
    x: [2, 4],
    node: ['Split', ['x'], ['y', 'z'], { axis: 1 }],
    outputs: ['y', 'z'],
  },
  {
    title: 'Split-11 in given parts',
    opset: 11,
    x: [2, 4],
    node: ['Split', ['x'], ['y', 'z'], { axis: -1, split: [1, 3] }],
    outputs: ['y', 'z'],
  },
  {
    title: 'Split-13 in equal parts',
    opset: 13,
    x: [2, 4],
    node: ['Split', ['x'], ['y', 'z'], { axis: 1 }],
    outputs: ['y', 'z'],
  },
  {
    title: 'Softmax-1 on the last axis',
    opset: 9,
    x: [2, 5],
    node: ['Softmax', ['x'], ['y']],
    becomes: ['Softmax'],
  },
  {
    title: 'Softmax-11 on axis -1',
    opset: 11,
    x: [2, 3, 4],
    node: ['Softmax', ['x'], ['y'], { axis: -1 }],
    becomes: ['Softmax'],
  },
  {
    title: 'Softmax-11 before dimensions of 1',
    opset: 11,
    x: [2, 3, 1, 1],
    node: ['Softmax', ['x'], ['y']],
    becomes: ['Softmax'],
  },
  {
    title: 'Softmax-1 of a flattened rest',
    opset: 9,
    x: [2, 3, 4],
    node: ['Softmax', ['x'], ['y']],
    becomes: ['Flatten', 'Softmax', 'Shape', 'Reshape'],
  },
  {
    title: 'Softmax-11 on axis -2',
    opset: 12,
    x: [2, 3, 4],
    node: ['Softmax', ['x'], ['y'], { axis: -2 }],
    becomes: ['Flatten', 'Softmax', 'Shape', 'Reshape'],
  },
  {
    title: 'Softmax-11 on axis 0',
    opset: 12,
    x: [2, 3],
    node: ['Softmax', ['x'], ['y'], { axis: 0 }],
    becomes: ['Flatten', 'Softmax', 'Shape', 'Reshape'],
  },
  {
    title: 'LogSoftmax-1 of a flattened rest',
    opset: 9,
    x: [2, 3, 2],
    node: ['LogSoftmax', ['x'], ['y']],
    becomes: ['Flatten', 'LogSoftmax', 'Shape', 'Reshape'],
  },
  {
    title: 'Hardmax-11 of a flattened rest',
    opset: 11,
    x: [2, 3, 2],
    node: ['Hardmax', ['x'], ['y']],
    becomes: ['Flatten', 'Hardmax', 'Shape', 'Reshape'],
  },
  {
    title: 'Softmax-1 whose rank follows from the operators before',
    opset: 9,
    x: [2, 3],
    symbolic: true,
    weights: { w: randoms([3, 4], 5), b: randoms([4], 6) },
    node: [
      ['Gemm', ['x', 'w', 'b'], ['h']],
      ['Relu', ['h'], ['r']],
      ['Softmax', ['r'], ['y']],
    ],
    becomes: ['Gemm', 'Relu', 'Softmax'],
  },
  {
    title: 'Upsample-9 nearest',
    opset: 9,
    x: [1, 2, 3, 3],
    weights: { s: floats([4], [1, 1, 2, 3]) },
    node: ['Upsample', ['x', 's'], ['y'], { mode: 'nearest' }],
    becomes: ['Resize'],
  },
  {
    title: 'Upsample-9 nearest by a fraction',
    opset: 9,
    x: [1, 2, 3, 3],
    weights: { s: floats([4], [1, 1, 1.5, 2.5]) },
    node: ['Upsample', ['x', 's'], ['y']],
    becomes: ['Resize'],
  },
  {
    title: 'Upsample-9 linear',
    opset: 9,
    x: [1, 2, 3, 3],
    weights: { s: floats([4], [1, 1, 2, 2]) },
    node: ['Upsample', ['x', 's'], ['y'], { mode: 'linear' }],
    becomes: ['Resize'],
  },
  {
    title: 'Resize-10 nearest, enlarging',
    opset: 10,
    x: [1, 2, 3, 3],
    weights: { s: floats([4], [1, 1, 1.7, 2]) },
    node: ['Resize', ['x', 's'], ['y']],
    becomes: ['Resize'],
  },
  {
    title: 'Resize-10 nearest, shrinking',
    opset: 10,
    x: [1, 2, 7, 7],
    weights: { s: floats([4], [1, 1, 0.6, 0.7]) },
    node: ['Resize', ['x', 's'], ['y']],
    becomes: ['Resize'],
  },
  {
    title: 'Resize-10 linear',
    opset: 10,
    x: [1, 2, 4, 4],
    weights: { s: floats([4], [1, 1, 0.6, 2]) },
    node: ['Resize', ['x', 's'], ['y'], { mode: 'linear' }],
    becomes: ['Resize'],
  },
  {
    title: 'Scatter-9',
    opset: 9,
    x: [3, 3],
    weights: { i: floats([1, 2], [0, 0]), u: floats([1, 2], [7, 8]) },
    node: [
      ['Cast', ['i'], ['index'], { to: 7 }],
      ['Scatter', ['x', 'index', 'u'], ['y'], { axis: 1 }],
    ],
    becomes: ['Cast', 'ScatterElements'],
  },
  {
    title: 'BatchNormalization-9',
    opset: 9,
    x: [2, 3, 2],
    weights: { s: randoms([3], 2), b: randoms([3], 3), m: randoms([3], 4), v: floats([3], [1, 2, 3]) },
    node: ['BatchNormalization', ['x', 's', 'b', 'm', 'v'], ['y'], { epsilon: f(1e-3), momentum: f(0.9) }],
  },
  {
    title: 'Gemm-9 and MatMul-9 stay',
    opset: 9,
    x: [2, 3],
    weights: { w: randoms([3, 4], 5), b: floats([1], [0.5]) },
    node: ['Gemm', ['x', 'w', 'b'], ['y'], { alpha: f(0.5) }],
  },
]

for (const row of rows) {
  test(row.title, async () => {
    const { opset, weights = {}, outputs = ['y'] } = row
    const nodes = (typeof row.node[0] === 'string' ? [row.node] : row.node) as NodeRow[]
    const dims = row.symbolic ? ['N', ...row.x.slice(1)] : row.x
    const model = buildModel({ inputs: { x: dims }, weights, nodes, outputs, opset })
    const raised = await assertRaises(model, new Map([['x', row.feed ?? randoms(row.x)]]))
    const found = raised.graph.nodes.map(node => node.opType)
    assert.equal(found, row.becomes ?? nodes.map(([opType]) => opType))
  })
}

test.run()
