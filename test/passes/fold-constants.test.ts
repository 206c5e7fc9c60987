import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { printGraph } from '../../src/ir/print.ts'
import type { TensorType } from '../../src/ir/value.ts'
import {
  applyObserved,
  cloneModel,
  constantValues,
  verify,
  type Observations,
} from '../../src/passes/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { buildModel, floats, int64s, randoms, type NodeRow } from './support/build.ts'
import { runModel } from './support/run.ts'
import type { Model } from '../../src/ir/graph.ts'
import type { Value } from '../../src/ir/value.ts'

/** Flatten written with shape arithmetic, a transposed weight, and a scale computed from constants, behind Identity. */
function shapely(): Model {
  return buildModel({
    inputs: { x: [2, 3, 4] },
    weights: {
      w: randoms([5, 12]),
      first: int64s(0),
      rest: int64s(-1),
      four: floats([], [4]),
      half: floats([], [0.5]),
    },
    nodes: [
      ['Shape', ['x'], ['shape']],
      ['Gather', ['shape', 'first'], ['n']],
      ['Concat', ['n', 'rest'], ['target'], { axis: 0 }],
      ['Reshape', ['x', 'target'], ['flat']],
      ['Identity', ['flat'], ['same']],
      ['Transpose', ['w'], ['wt'], { perm: [1, 0] }],
      ['MatMul', ['same', 'wt'], ['h']],
      ['Pow', ['four', 'half'], ['power']],
      ['Identity', ['power'], ['scale']],
      ['Mul', ['h', 'scale'], ['y']],
    ],
    outputs: ['y'],
  })
}

/** One run that shows every type and the wanted values. */
async function observe(model: Model, wanted: readonly Value[]): Promise<Observations> {
  const { model: copy, values } = cloneModel(model)
  const { graph } = copy
  graph.outputs = graph.nodes.flatMap(node => node.outputs.filter(output => output !== null))
  const results = await runModel(copy, new Map([['x', randoms([2, 3, 4])]]))
  const types = new Map<string, TensorType>()
  for (const [name, tensor] of results) {
    types.set(name, { kind: 'tensor', dtype: tensor.dtype, shape: tensor.dims })
  }
  const observed = wanted.map(value => [value.name, results.get(values.get(value)!.name)!] as const)
  return { types, values: new Map(observed) }
}

const names = (values: readonly Value[]) => values.map(value => value.name)

test('the frontier: constants that something variable reads', () => {
  const { graph } = shapely()
  assert.equal(names(constantValues(graph)), ['target', 'wt', 'scale'])
  const weight = graph.initializers.find(value => value.name === 'w')!
  assert.equal(names(constantValues(graph, [weight])), ['target', 'scale'])
})

test('observed constants become initializers and the rest of their graph goes', async () => {
  const model = shapely()
  const feeds = new Map([['x', randoms([2, 3, 4])]])
  const expected = await runModel(model, feeds)
  const weight = model.graph.initializers.find(value => value.name === 'w')!
  const { unobserved } = applyObserved(model, await observe(model, constantValues(model.graph, [weight])))
  verify(model.graph)
  assert.equal(unobserved, [])
  assert.is(
    printGraph(model.graph),
    `graph test (x<float32,[2,3,4]>)
  weight w<float32,[5,12]>
  weight target<int64,[2]>
  weight scale<float32,[]>
  flat<float32,[2,12]> = Reshape (x, target)
  wt<float32,[12,5]> = Transpose {perm=[1,0]} (w)
  h<float32,[2,5]> = MatMul (flat, wt)
  y<float32,[2,5]> = Mul (h, scale)
  return y<float32,[2,5]>`,
  )
  const actual = await runModel(model, feeds)
  assert.equal(actual.get('y')!.toNumbers(), expected.get('y')!.toNumbers())
})

const cases: readonly (readonly [string, readonly NodeRow[], readonly string[]])[] = [
  [
    'random numbers are no constants',
    [
      ['RandomNormal', [], ['r'], { shape: [3] }],
      ['Exp', ['r'], ['e']],
      ['Add', ['x', 'e'], ['y']],
    ],
    [],
  ],
  [
    'Size cuts the dependence on the input',
    [
      ['Size', ['x'], ['s']],
      ['Cast', ['s'], ['c'], { to: 1 }],
      ['Div', ['x', 'c'], ['y']],
    ],
    ['c'],
  ],
  [
    'sequences stay, what goes into them is folded',
    [
      ['Neg', ['w'], ['n']],
      ['SequenceConstruct', ['n', 'n'], ['list']],
      ['SequenceAt', ['list', 'i'], ['y']],
    ],
    ['n'],
  ],
  ['a constant output', [['Neg', ['w'], ['y']]], ['y']],
]

for (const [title, nodes, expected] of cases) {
  test(title, () => {
    const weights = { w: floats([3], [1, 2, 3]), i: Tensor.of('int64', [], [0n]) }
    const { graph } = buildModel({ inputs: { x: [3] }, weights, nodes, outputs: ['y'] })
    assert.equal(names(constantValues(graph)), expected)
  })
}

test('one constant output of several is taken, the node stays for the others', () => {
  const model = buildModel({
    inputs: { x: [4] },
    weights: { parts: int64s(1, 3) },
    nodes: [
      ['Split', ['x', 'parts'], ['a', 'b'], { axis: 0 }],
      ['Add', ['a', 'b'], ['y']],
    ],
    outputs: ['y'],
  })
  const types = new Map<string, TensorType>([['b', { kind: 'tensor', dtype: 'float32', shape: [3] }]])
  const values = new Map([['a', floats([1], [7])]])
  const { unobserved } = applyObserved(model, { types, values })
  verify(model.graph)
  assert.equal(names(unobserved), ['y'])
  assert.is(
    printGraph(model.graph).split('\n').slice(3, 5).join('\n'),
    `  _, b<float32,[3]> = Split {axis=0} (x, parts)
  y = Add (a, b)`,
  )
})

test.run()
