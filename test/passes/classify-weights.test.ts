import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Value } from '../../src/ir/value.ts'
import { Node } from '../../src/ir/node.ts'
import { classifyWeights } from '../../src/passes/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import {
  buildGraph,
  buildModel,
  floats,
  int64s,
  randoms,
  tensorAttribute,
  type NodeRow,
  type Parts,
} from './support/build.ts'

type Weights = Readonly<Record<string, Tensor>>

/** `name: role, reason` for every weight of a model with input x. */
async function roles(
  weights: Weights,
  nodes: readonly NodeRow[],
  options: Partial<Parts> = {},
): Promise<string[]> {
  const model = buildModel({ inputs: { x: ['N', 3, 4, 4] }, weights, nodes, outputs: ['y'], ...options })
  const infos = await classifyWeights(model)
  return infos.map(info => `${info.name}: ${info.role}, ${info.reason}`)
}

/** sin and cos of position / 10000^(2i/d), as in "Attention is all you need". */
function sineTable(rows: number, columns: number): Tensor {
  const angle = (row: number, column: number) => row / 10000 ** ((2 * Math.floor(column / 2)) / columns)
  return floats(
    [1, rows, columns],
    Array.from({ length: rows * columns }, (_, i) => {
      const [row, column] = [Math.floor(i / columns), i % columns]
      return column % 2 === 0 ? Math.sin(angle(row, column)) : Math.cos(angle(row, column))
    }),
  )
}

interface Row {
  readonly title: string
  readonly weights: Weights
  readonly nodes: readonly NodeRow[]
  readonly expected: readonly string[]
}

const conv = randoms([3, 3, 1, 1])
const channel = randoms([3, 1, 1])

const rows: readonly Row[] = [
  {
    title: 'weights of convolution and batch normalization',
    weights: { w: conv, c: randoms([3]), s: randoms([3]), b: randoms([3]), m: randoms([3]), v: randoms([3]) },
    nodes: [
      ['Conv', ['x', 'w', 'c'], ['h']],
      ['BatchNormalization', ['h', 's', 'b', 'm', 'v'], ['y']],
    ],
    expected: [
      'w: parameter, weight of Conv "Conv_0"',
      'c: parameter, bias of Conv "Conv_0"',
      's: parameter, scale of BatchNormalization "BatchNormalization_1"',
      'b: parameter, bias of BatchNormalization "BatchNormalization_1"',
      'm: buffer, running mean of BatchNormalization "BatchNormalization_1"',
      'v: buffer, running variance of BatchNormalization "BatchNormalization_1"',
    ],
  },
  {
    title: 'behind Identity, Cast, Transpose, Reshape and Unsqueeze',
    weights: { w: randoms([3, 3]), shape: int64s(3, 3, 1), axes: int64s(-1) },
    nodes: [
      ['Identity', ['w'], ['a']],
      ['Cast', ['a'], ['b'], { to: 1 }],
      ['Transpose', ['b'], ['c'], { perm: [1, 0] }],
      ['Reshape', ['c', 'shape'], ['d']],
      ['Unsqueeze', ['d', 'axes'], ['e']],
      ['Conv', ['x', 'e'], ['y']],
    ],
    expected: [
      'w: parameter, weight of Conv "Conv_5"',
      'shape: constant, elements are int64',
      'axes: constant, elements are int64',
    ],
  },
  {
    title: 'weight normalization: both factors are learned, epsilon is not',
    weights: { g: randoms([3, 1, 1, 1]), v: conv, e: floats([], [1e-5]) },
    nodes: [
      ['ReduceL2', ['v'], ['n']],
      ['Add', ['n', 'e'], ['ne']],
      ['Div', ['v', 'ne'], ['u']],
      ['Mul', ['g', 'u'], ['w']],
      ['Conv', ['x', 'w'], ['y']],
    ],
    expected: [
      'g: parameter, weight of Conv "Conv_4"',
      'v: parameter, weight of Conv "Conv_4"',
      'e: constant, single number in Add "Add_1"',
    ],
  },
  {
    title: 'single numbers in arithmetic: GELU and HardSigmoid written out',
    weights: {
      half: floats([], [0.5]),
      root: floats([1], [Math.SQRT2]),
      two: floats([], [2]),
      six: floats([], [6]),
      zero: floats([], [0]),
    },
    nodes: [
      ['Div', ['x', 'root'], ['a']],
      ['Mul', ['a', 'half'], ['b']],
      ['Pow', ['b', 'two'], ['c']],
      ['Clip', ['c', 'zero', 'six'], ['y']],
    ],
    expected: [
      'half: constant, single number in Mul "Mul_1"',
      'root: constant, single number in Div "Div_0"',
      'two: constant, exponent of Pow "Pow_2"',
      'six: constant, bound of Clip "Clip_3"',
      'zero: constant, bound of Clip "Clip_3"',
    ],
  },
  {
    title: 'the bias of a layer with one output is a parameter though it is a single number',
    weights: { w: randoms([4, 1]), b: floats([1], [0.1]), o: floats([1], [0.1]) },
    nodes: [
      ['MatMul', ['x', 'w'], ['h']],
      ['Add', ['h', 'b'], ['k']],
      ['Relu', ['k'], ['r']],
      ['Add', ['r', 'o'], ['y']],
    ],
    expected: [
      'w: parameter, matrix of MatMul "MatMul_0"',
      'b: parameter, bias in Add "Add_1"',
      'o: constant, single number in Add "Add_3"',
    ],
  },
  {
    title: 'per-channel scale and bias, and what normalises the input',
    weights: {
      mean: channel,
      std: randoms([3, 1, 1], 2),
      s: randoms([1, 3, 1, 1], 3),
      b: randoms([3, 1, 1], 4),
    },
    nodes: [
      ['Sub', ['x', 'mean'], ['a']],
      ['Div', ['a', 'std'], ['n']],
      ['Relu', ['n'], ['r']],
      ['Mul', ['r', 's'], ['m']],
      ['Add', ['m', 'b'], ['y']],
    ],
    expected: [
      'mean: constant, normalises the input in Sub "Sub_0"',
      'std: constant, normalises the input in Div "Div_1"',
      's: parameter, per-channel operand of Mul "Mul_3"',
      'b: parameter, per-channel operand of Add "Add_4"',
    ],
  },
  {
    title: 'batch normalization written out',
    weights: {
      m: channel,
      v: randoms([3, 1, 1], 2),
      e: floats([], [1e-5]),
      g: randoms([3, 1, 1], 3),
      b: randoms([3, 1, 1], 4),
      w: conv,
    },
    nodes: [
      ['Conv', ['x', 'w'], ['h']],
      ['Sub', ['h', 'm'], ['c']],
      ['Add', ['v', 'e'], ['ve']],
      ['Sqrt', ['ve'], ['d']],
      ['Div', ['c', 'd'], ['n']],
      ['Mul', ['n', 'g'], ['k']],
      ['Add', ['k', 'b'], ['y']],
    ],
    expected: [
      'm: buffer, mean of a decomposed batch normalization in Sub "Sub_1"',
      'v: buffer, variance of a decomposed batch normalization in Div "Div_4"',
      'e: constant, single number in Add "Add_2"',
      'g: parameter, per-channel operand of Mul "Mul_5"',
      'b: parameter, per-channel operand of Add "Add_6"',
      'w: parameter, weight of Conv "Conv_0"',
    ],
  },
  {
    title: 'masks and sine tables are constants, learned tables are not',
    weights: {
      mask: floats([1, 1, 2, 2], [0, -1e9, 0, 0]),
      keep: floats([4], [0, 1, 1, 0]),
      zeros: floats([4], [0, 0, 0, 0]),
      sines: sineTable(16, 4),
      learned: randoms([1, 16, 4]),
      w: conv,
    },
    nodes: [
      ['Conv', ['x', 'w'], ['h']],
      ['Add', ['h', 'mask'], ['a']],
      ['Mul', ['a', 'keep'], ['b']],
      ['Add', ['b', 'zeros'], ['c']],
      ['Add', ['c', 'sines'], ['d']],
      ['Add', ['d', 'learned'], ['y']],
    ],
    expected: [
      'mask: constant, mask in Add "Add_1"',
      'keep: constant, mask in Mul "Mul_2"',
      'zeros: parameter, per-channel operand of Add "Add_3"',
      'sines: constant, sine table in Add "Add_4"',
      'learned: parameter, table in Add "Add_5"',
      'w: parameter, weight of Conv "Conv_0"',
    ],
  },
  {
    title: 'steady progressions are constants: positions, slopes of ALiBi',
    weights: {
      slopes: floats(
        [8],
        [1, 2, 3, 4, 5, 6, 7, 8].map(head => 2 ** -head),
      ),
      positions: floats([8], [0, 1, 2, 3, 4, 5, 6, 7]),
      ones: floats([8], [1, 1, 1, 1, 1, 1, 1, 1]),
      learned: floats([8], [0, 1, 2, 3, 4.1, 5, 6, 7]),
    },
    nodes: [
      ['Relu', ['x'], ['h']],
      ['Mul', ['h', 'slopes'], ['a']],
      ['Add', ['a', 'positions'], ['b']],
      ['Mul', ['b', 'ones'], ['c']],
      ['Mul', ['c', 'learned'], ['y']],
    ],
    expected: [
      'slopes: constant, steady progression in Mul "Mul_1"',
      'positions: constant, steady progression in Add "Add_2"',
      'ones: parameter, per-channel operand of Mul "Mul_3"',
      'learned: parameter, per-channel operand of Mul "Mul_4"',
    ],
  },
  {
    title: 'frequencies of a position encoding are constants, with an activation they are parameters',
    weights: {
      frequencies: floats([4], [1, 0.3, 0.1, 0.03]),
      positions: floats([4, 1], [0, 1, 2, 3]),
      learned: randoms([4]),
    },
    nodes: [
      ['Mul', ['positions', 'frequencies'], ['angles']],
      ['Cos', ['angles'], ['waves']],
      ['Relu', ['x'], ['h']],
      ['Mul', ['h', 'waves'], ['rotated']],
      ['Mul', ['rotated', 'learned'], ['fourier']],
      ['Sin', ['fourier'], ['y']],
    ],
    expected: [
      'frequencies: constant, frequencies of a sine table in Mul "Mul_3"',
      'positions: constant, frequencies of a sine table in Mul "Mul_3"',
      'learned: parameter, per-channel operand of Mul "Mul_4"',
    ],
  },
  {
    title: 'tables, slopes, sizes, paddings and limits',
    weights: {
      table: randoms([10, 4]),
      sines: sineTable(16, 4),
      ids: int64s(1, 2),
      slope: floats([1], [0.25]),
      scales: floats([4], [1, 1, 2, 2]),
      pads: int64s(0, 0, 0, 0, 0, 0, 1, 1),
      fill: floats([], [1]),
      unused: randoms([2]),
    },
    nodes: [
      ['Gather', ['table', 'ids'], ['t']],
      ['Gather', ['sines', 'ids'], ['s'], { axis: 1 }],
      ['PRelu', ['x', 'slope'], ['p']],
      ['Resize', ['p', '', 'scales'], ['r']],
      ['Pad', ['r', 'pads', 'fill'], ['q']],
      ['Sum', ['q', 't', 's'], ['y']],
    ],
    expected: [
      'table: parameter, table of Gather "Gather_0"',
      'sines: constant, sine table, as table of Gather "Gather_1"',
      'ids: constant, elements are int64',
      'slope: parameter, slope of PRelu "PRelu_2"',
      'scales: constant, size of Resize "Resize_3"',
      'pads: constant, elements are int64',
      'fill: constant, padding of Pad "Pad_4"',
      'unused: constant, read by no node',
    ],
  },
  {
    title: 'a class token that is expanded and put before the activations',
    weights: { token: randoms([1, 1, 4]), one: int64s(1), rest: int64s(1, 4) },
    nodes: [
      ['Shape', ['x'], ['shape']],
      ['Gather', ['shape', 'one'], ['n']],
      ['Concat', ['n', 'rest'], ['wanted'], { axis: 0 }],
      ['Expand', ['token', 'wanted'], ['tokens']],
      ['Concat', ['tokens', 'x'], ['y'], { axis: 1 }],
    ],
    expected: [
      'token: parameter, operand of Concat "Concat_4"',
      'one: constant, elements are int64',
      'rest: constant, elements are int64',
    ],
  },
  {
    title: 'a tensor whose shape alone is read, and one that is used twice',
    weights: { like: randoms([2, 3]), shared: conv, counter: int64s(3) },
    nodes: [
      ['Shape', ['like'], ['s']],
      ['Conv', ['x', 'shared'], ['a']],
      ['Conv', ['a', 'shared'], ['b']],
      ['Expand', ['b', 's'], ['y']],
    ],
    expected: [
      'like: constant, only the shape is read by Shape "Shape_0"',
      'shared: parameter, weight of Conv "Conv_1" and 1 more',
      'counter: constant, elements are int64',
    ],
  },
]

for (const { title, weights, nodes, expected } of rows) {
  test(title, async () => assert.equal(await roles(weights, nodes), expected))
}

test('Constant nodes are weights named after their output', async () => {
  const model = buildModel({
    inputs: { x: ['N', 3, 4, 4] },
    nodes: [
      ['Constant', [], ['w'], { value: tensorAttribute(conv) }],
      ['Constant', [], ['s'], { value_floats: { kind: 'floats', value: [1, 2, 3, 4] } }],
      ['Conv', ['x', 'w'], ['h']],
      ['Mul', ['h', 's'], ['y']],
    ],
    outputs: ['y'],
  })
  const infos = await classifyWeights(model)
  assert.equal(
    infos.map(({ name, role, trainable, reason }) => `${name} ${role} ${trainable} ${reason}`),
    [
      'w parameter true weight of Conv "Conv_2"',
      's parameter false per-channel operand of Mul "Mul_3"; not trained: stored as the attribute value_floats of a Constant node',
    ],
  )
  assert.is(infos[0]!.tensor, conv)
  assert.is(infos[0]!.origin.kind, 'constant-node')
  assert.is(infos[0]!.users[0], model.graph.nodes[2])
})

test('weights of sub-graphs are listed and not trained; equal names are told apart', async () => {
  const model = buildModel({ inputs: { x: ['N', 4], flag: [{ dtype: 'bool' }] }, nodes: [], outputs: [] })
  const branch = (name: string) =>
    buildGraph(
      name,
      {
        inputs: {},
        weights: { w: randoms([4, 4]) },
        nodes: [['MatMul', ['x', 'w'], [`${name}_y`]]],
        outputs: [`${name}_y`],
      },
      model.graph.inputs,
    )
  const y = new Value('y')
  const attributes = new Map(
    ['then_branch', 'else_branch'].map(name => [name, { kind: 'graph', value: branch(name) } as const]),
  )
  model.graph.nodes.push(new Node('If', [model.graph.inputs[1]!], [y], { name: 'choice', attributes }))
  model.graph.outputs = [y]
  const infos = await classifyWeights(model)
  const reason = 'matrix of MatMul "MatMul_0"; not trained: inside a sub-graph of If "choice"'
  assert.equal(
    infos.map(info => `${info.name} ${info.role} ${info.trainable}: ${info.reason}`),
    [`w parameter false: ${reason}`, `choice/w parameter false: ${reason}`],
  )
})

test('half precision is trained, float8 is not', async () => {
  const weights = {
    a: Tensor.of('float16', [3, 3], new Array<number>(9).fill(1)),
    b: new Tensor('float8e5m2', [3, 3], new Uint8Array(9)),
  }
  const nodes: NodeRow[] = [
    ['MatMul', ['x', 'a'], ['h']],
    ['MatMul', ['h', 'b'], ['y']],
  ]
  assert.equal(await roles(weights, nodes), [
    'a: parameter, matrix of MatMul "MatMul_0"',
    'b: parameter, matrix of MatMul "MatMul_1"; not trained: elements are float8e5m2',
  ])
})

test.run()
