/** Numbers that were made and not learned, in the forms in which exporters leave them, and learned ones that look alike. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { classifyWeights } from '../../src/passes/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { buildModel, f, floats, int64s, randoms, tensorAttribute, type NodeRow } from './support/build.ts'

interface Row {
  readonly title: string
  readonly input: readonly number[]
  readonly weights: Readonly<Record<string, Tensor>>
  readonly nodes: readonly NodeRow[]
  /** Names of the parameters, all others being constants. */
  readonly learned: readonly string[]
  readonly producer?: string
}

const LENGTH = 12

/** ALiBi: slopes of the heads times minus the distance, as a whole, with the future masked where asked for. */
function alibi(heads: number, masked: boolean, dtype: 'float32' | 'float16' = 'float32'): Tensor {
  const at = (h: number, i: number, j: number) =>
    masked && j > i ? -60000 : -(2 ** ((-8 * (h + 1)) / heads)) * Math.abs(i - j)
  const values = Array.from({ length: heads * LENGTH * LENGTH }, (_, k) =>
    at(Math.floor(k / LENGTH ** 2), Math.floor(k / LENGTH) % LENGTH, k % LENGTH),
  )
  return Tensor.of(dtype, [heads, LENGTH, LENGTH], values)
}

const distance = floats(
  [LENGTH, LENGTH],
  Array.from({ length: LENGTH ** 2 }, (_, k) => -Math.abs(Math.floor(k / LENGTH) - (k % LENGTH))),
)

/** The slopes of twelve heads: those of eight, then every other one of sixteen, which is no single progression. */
const twelve = floats(
  [12, 1, 1],
  [...Array.from({ length: 8 }, (_, i) => 2 ** -(i + 1)), ...[0.5, 1.5, 2.5, 3.5].map(e => 2 ** -e)],
)

const scores = (bias: string): NodeRow[] => [
  ['Add', ['x', bias], ['h']],
  ['Softmax', ['h'], ['y'], { axis: -1 }],
]

/** Sines of the columns of a grid in the order of its cells, for four frequencies. */
const gridSines = floats(
  [64, 8],
  Array.from({ length: 512 }, (_, k) => {
    const [cell, column] = [k >> 3, k & 7]
    const place = column < 4 ? cell % 8 : cell >> 3
    return Math.sin(place / 10 ** (column % 4) + 0.3)
  }),
)

const rows: readonly Row[] = [
  ...[true, false].map((masked): Row => ({
    title: `ALiBi of four heads as one table${masked ? ' with a mask' : ''}`,
    input: [1, 4, LENGTH, LENGTH],
    weights: { bias: alibi(4, masked) },
    nodes: scores('bias'),
    learned: [],
  })),
  {
    title: 'ALiBi in float16',
    input: [1, 3, LENGTH, LENGTH],
    weights: { bias: alibi(3, false, 'float16') },
    nodes: [['Cast', ['bias'], ['b'], { to: 1 }], ...scores('b')],
    learned: [],
  },
  {
    title: 'a learned relative bias of the same shape',
    input: [1, 4, LENGTH, LENGTH],
    weights: { bias: randoms([4, LENGTH, LENGTH]) },
    nodes: scores('bias'),
    learned: ['bias'],
  },
  {
    title: 'slopes of four heads, and of twelve, times distances',
    input: [1, 12, LENGTH, LENGTH],
    weights: {
      four: floats([4, 1, 1], [0.25, 0.0625, 0.015625, 0.00390625]),
      twelve,
      distance,
      sizes: int64s(3, 1, 1),
    },
    nodes: [
      ['Tile', ['four', 'sizes'], ['tiled']],
      ['Mul', ['tiled', 'distance'], ['a']],
      ['Mul', ['twelve', 'distance'], ['b']],
      ['Add', ['x', 'a'], ['z']],
      ['Add', ['z', 'b'], ['h']],
      ['Softmax', ['h'], ['y'], { axis: -1 }],
    ],
    learned: [],
  },
  {
    title: 'bins of a distribution as a convolution, anchors and strides of two grids',
    input: [1, 16, 4, 80],
    weights: {
      bins: floats(
        [1, 16, 1, 1],
        Array.from({ length: 16 }, (_, i) => i),
      ),
      anchors: floats(
        [1, 1, 1, 80],
        Array.from({ length: 80 }, (_, i) => (i < 64 ? i % 8 : (i - 64) % 4) + 0.5),
      ),
      strides: floats(
        [1, 80],
        Array.from({ length: 80 }, (_, i) => (i < 64 ? 8 : 16)),
      ),
      scale: floats(
        [80],
        Array.from({ length: 80 }, (_, i) => 1 + 0.01 * Math.sin(i * i)),
      ),
    },
    nodes: [
      ['Conv', ['x', 'bins'], ['e']],
      ['Add', ['e', 'anchors'], ['a']],
      ['Mul', ['a', 'strides'], ['s']],
      ['Mul', ['s', 'scale'], ['y']],
    ],
    learned: ['scale'],
  },
  {
    title: 'rotary sines of a grid, and sines that a learned number was folded into',
    input: [1, 64, 8],
    weights: {
      gridSines,
      scaled: floats(
        [64, 8],
        Array.from({ length: 512 }, (_, k) => 1.7 * Math.sin((k >> 3) / 2 ** (k & 7))),
      ),
    },
    nodes: [
      ['Mul', ['x', 'gridSines'], ['h']],
      ['Add', ['h', 'scaled'], ['y']],
    ],
    learned: [],
  },
  {
    title: 'spectral normalization that was not folded: its vectors are no weights',
    input: [2, 4],
    weights: { w: randoms([3, 4]), u: randoms([3], 2), v: randoms([4], 3), b: randoms([3], 4) },
    nodes: [
      ['Identity', ['v'], ['v2']],
      ['MatMul', ['w', 'v2'], ['wv']],
      ['MatMul', ['u', 'wv'], ['sigma']],
      ['Div', ['w', 'sigma'], ['normal']],
      ['Gemm', ['x', 'normal', 'b'], ['y'], { transB: 1 }],
    ],
    learned: ['w', 'b'],
  },
  {
    title: 'a standardised weight is not the statistic that is computed from it',
    input: [1, 3, 5, 5],
    weights: {
      w: randoms([4, 3, 2, 2]),
      gain: randoms([4], 2),
      zeros: floats([4], [0, 0, 0, 0]),
      rows: int64s(1, 4, -1),
      back: int64s(4, 3, 2, 2),
    },
    nodes: [
      ['Reshape', ['w', 'rows'], ['r']],
      ['ReduceMean', ['r'], ['mean'], { axes: [0, 2], keepdims: 0 }],
      ['Sub', ['zeros', 'mean'], ['less']],
      ['Mul', ['less', 'less'], ['variance']],
      ['BatchNormalization', ['r', 'gain', 'zeros', 'mean', 'variance'], ['n'], { epsilon: f(1) }],
      ['Reshape', ['n', 'back'], ['standard']],
      ['Conv', ['x', 'standard'], ['y']],
    ],
    learned: ['w', 'gain', 'zeros'],
  },
  {
    title: 'one number written into a part of a table, as regions of a mask are',
    input: [1, 4, 4],
    weights: {
      zeros: floats([4, 4], Array(16).fill(0)),
      region: floats([2, 4], Array(8).fill(3)),
      at: int64s(0, 1),
      shape: int64s(2, 1),
    },
    nodes: [
      ['Reshape', ['at', 'shape'], ['places']],
      ['ScatterND', ['zeros', 'places', 'region'], ['regions']],
      ['Sub', ['x', 'regions'], ['y']],
    ],
    learned: [],
  },
  {
    title: 'the state that a recurrence starts from, and a learned table',
    input: [2, 3, 4],
    weights: { state: floats([2, 3, 4], Array(24).fill(0)), table: randoms([3, 4]) },
    nodes: [
      ['Mul', ['x', 'state'], ['h']],
      ['Mul', ['x', 'table'], ['k']],
      ['Add', ['h', 'k'], ['y']],
    ],
    learned: ['table'],
  },
  {
    title: 'a batch normalization that learned neither scale nor bias',
    input: [2, 3],
    weights: {
      ...{ m: randoms([3]), v: randoms([3], 2) },
      ...{ 'norm.gamma': floats([3], [1, 1, 1]), val_28: floats([3], [0, 0, 0]) },
    },
    nodes: [
      ['Constant', [], ['/norm/Constant_output_0'], { value: tensorAttribute(floats([3], [1, 1, 1])) }],
      ['Constant', [], ['/norm/Constant_1_output_0'], { value: tensorAttribute(floats([3], [0, 0, 0])) }],
      ['BatchNormalization', ['x', '/norm/Constant_output_0', '/norm/Constant_1_output_0', 'm', 'v'], ['n']],
      ['Mul', ['n', 'norm.gamma'], ['h']],
      ['Add', ['h', 'val_28'], ['y']],
    ],
    learned: ['norm.gamma'],
  },
  ...(['pytorch', 'another'] as const).map((producer): Row => ({
    title: `a learned factor of one element in a file of ${producer}`,
    input: [2, 3],
    weights: {
      'block.residual.resweight': floats([1], [0]),
      'block.factor': floats([], [-1]),
      val_3: floats([1], [2]),
    },
    nodes: [
      ['Tanh', ['x'], ['t']],
      ['Mul', ['t', 'block.residual.resweight'], ['h']],
      ['Mul', ['h', 'block.factor'], ['k']],
      ['Mul', ['k', 'val_3'], ['y']],
    ],
    learned: producer === 'pytorch' ? ['block.residual.resweight'] : [],
    producer,
  })),
]

for (const { title, input, weights, nodes, learned, producer = '' } of rows) {
  test(title, async () => {
    const model = buildModel({ inputs: { x: input }, weights, nodes, outputs: ['y'], opset: 17 })
    model.producerName = producer
    const infos = await classifyWeights(model)
    const found = infos.filter(({ role }) => role === 'parameter').map(({ name }) => name)
    assert.equal(
      found,
      learned,
      infos.map(({ name, role, reason }) => `${name}: ${role}, ${reason}`).join('\n'),
    )
  })
}

test.run()
