import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { printGraph } from '../../src/ir/print.ts'
import { walkNodes } from '../../src/ir/topology.ts'
import { Node } from '../../src/ir/node.ts'
import { Value } from '../../src/ir/value.ts'
import {
  cloneModel,
  inlineBranches,
  liftConstants,
  removeDeadNodes,
  removeIdentities,
  setBatchSize,
  toInferenceForm,
  verify,
} from '../../src/passes/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { errorOf } from '../support/errors.ts'
import { buildGraph, buildModel, f, floats, int64s, tensorAttribute } from './support/build.ts'
import { runModel } from './support/run.ts'

/** `If(flag) { Add(x, w) } else { c }` with a weight outside and a constant inside. */
function branching() {
  const model = buildModel({
    inputs: { x: ['N', 2], flag: [{ dtype: 'bool' }] },
    weights: { w: floats([2], [1, 2]) },
    nodes: [['Identity', ['w'], ['v']]],
    outputs: [],
  })
  const { graph } = model
  const outer = [...graph.inputs, ...graph.nodes[0]!.outputs] as Value[]
  const then = buildGraph(
    'then',
    { inputs: {}, nodes: [['Add', ['x', 'v'], ['sum']]], outputs: ['sum'] },
    outer,
  )
  const constant = tensorAttribute(floats([2], [5, 6]))
  const otherwise = buildGraph(
    'else',
    { inputs: {}, nodes: [['Constant', [], ['c'], { value: constant }]], outputs: ['c'] },
    outer,
  )
  const y = new Value('y')
  const attributes = new Map([
    ['then_branch', { kind: 'graph', value: then } as const],
    ['else_branch', { kind: 'graph', value: otherwise } as const],
  ])
  graph.nodes.push(new Node('If', [graph.inputs[1]!], [y], { name: 'branch', attributes }))
  graph.outputs = [y]
  return model
}

test('a clone prints the same and shares nothing but tensors', () => {
  const model = branching()
  model.metadata.set('author', 'somebody')
  const { model: copy, values } = cloneModel(model)
  verify(copy.graph)
  assert.is(printGraph(copy.graph), printGraph(model.graph))
  assert.equal([...copy.metadata], [...model.metadata])
  const originals = new Set(walkNodes(model.graph))
  for (const node of walkNodes(copy.graph)) {
    assert.is(originals.has(node), false)
    for (const value of [...node.inputs, ...node.outputs]) assert.is(value && values.has(value), false)
  }
  const [weight] = model.graph.initializers
  assert.is(values.get(weight!), copy.graph.initializers[0])
  assert.is(copy.graph.initializers[0]!.tensor, weight!.tensor)
  copy.graph.nodes[0]!.inputs = []
  copy.metadata.clear()
  verify(model.graph)
  assert.is(model.metadata.size, 1)
})

test('a clone of a sub-graph reads the values around the copy', () => {
  const { model: copy } = cloneModel(branching())
  const [then] = [...copy.graph.nodes[1]!.subgraphs()]
  const [add] = then!.nodes
  assert.is(add!.inputs[0], copy.graph.inputs[0])
  assert.is(add!.inputs[1], copy.graph.nodes[0]!.outputs[0])
})

test('every form of Constant becomes an initializer that remembers where it was', () => {
  const bytes = (text: string) => new TextEncoder().encode(text)
  const tensor = floats([2], [1, 2])
  const model = buildModel({
    inputs: {},
    weights: { w: floats([1], [0]) },
    nodes: [
      ['Constant', [], ['a'], { value: tensorAttribute(tensor) }],
      ['Constant', [], ['b'], { value_float: f(0.5) }],
      ['Constant', [], ['c'], { value_floats: { kind: 'floats', value: [1, 2, 3] } }],
      ['Constant', [], ['d'], { value_int: 7 }],
      ['Constant', [], ['e'], { value_ints: [1, -1] }],
      ['Constant', [], ['g'], { value_string: 'text' }],
      ['Constant', [], ['h'], { value_strings: { kind: 'strings', value: [bytes('p'), bytes('q')] } }],
    ],
    outputs: ['a', 'b', 'c', 'd', 'e', 'g', 'h'],
  })
  const { origins, modified } = liftConstants(model)
  assert.is(modified, true)
  verify(model.graph)
  assert.is(model.graph.nodes.length, 0)
  const found = model.graph.initializers.map(value => {
    const { kind, attribute, tensor: stored } = origins.get(value)!
    return `${value.toString()} ${kind} ${attribute ?? '-'} ${stored === value.tensor}`
  })
  assert.equal(found, [
    '%"w"<float32,[1]> initializer - true',
    '%"a"<float32,[2]> constant-node value true',
    '%"b"<float32,[]> constant-node value_float false',
    '%"c"<float32,[3]> constant-node value_floats false',
    '%"d"<int64,[]> constant-node value_int false',
    '%"e"<int64,[2]> constant-node value_ints false',
    '%"g"<string,[]> constant-node value_string false',
    '%"h"<string,[2]> constant-node value_strings false',
  ])
  assert.is(origins.get(model.graph.initializers[1]!)!.tensor, tensor)
  assert.equal(model.graph.initializers[5]!.tensor!.toNumbers(), [1, -1])
})

test('a Constant without a value is refused', async () => {
  const model = buildModel({ inputs: {}, nodes: [['Constant', [], ['a'], { other: 1 }]], outputs: ['a'] })
  assert.is(
    (await errorOf(() => liftConstants(model))).message,
    'Constant "Constant_0": expected one of value, value_float, value_floats, value_int, value_ints, value_string, value_strings, found other',
  )
})

test('initializers that are inputs too stop being inputs', () => {
  const model = buildModel({
    inputs: { x: [2] },
    weights: { w: floats([2], [1, 2]) },
    nodes: [['Add', ['x', 'w'], ['y']]],
    outputs: ['y'],
    irVersion: 3,
  })
  model.graph.inputs.push(model.graph.initializers[0]!)
  assert.is(liftConstants(model).modified, true)
  assert.equal(
    model.graph.inputs.map(value => value.name),
    ['x'],
  )
  assert.is(model.irVersion, 4)
  assert.is(liftConstants(model).modified, false)
})

test('constants of sub-graphs stay there', () => {
  const model = branching()
  liftConstants(model)
  const [, otherwise] = [...model.graph.nodes[1]!.subgraphs()]
  assert.is(otherwise!.nodes[0]!.opType, 'Constant')
})

test('dead nodes go, what a sub-graph reads stays', () => {
  const model = branching()
  const { graph } = model
  const unused = Value.constant('unused', floats([1], [1]))
  graph.initializers.push(unused)
  graph.nodes.unshift(new Node('Relu', [unused], [new Value('nobody')]))
  assert.is(removeDeadNodes(model).modified, true)
  assert.equal(
    graph.nodes.map(node => node.opType),
    ['Identity', 'If'],
  )
  assert.equal(
    graph.initializers.map(value => value.name),
    ['w'],
  )
  assert.is(removeDeadNodes(model).modified, false)
})

test('identities go, except where they name an output; sub-graphs read the source', () => {
  const model = branching()
  const { graph } = model
  const [w] = graph.initializers
  const again = new Value('again')
  const named = new Value('named')
  graph.nodes.push(
    new Node('Identity', [graph.nodes[0]!.output(0)], [again]),
    new Node('Identity', [again], [named]),
  )
  graph.outputs.push(named)
  assert.is(removeIdentities(model).modified, true)
  verify(graph)
  assert.equal(
    graph.nodes.map(node => node.opType),
    ['If', 'Identity'],
  )
  assert.is(graph.nodes[1]!.inputs[0], w)
  const [then] = [...graph.nodes[0]!.subgraphs()]
  assert.is(then!.nodes[0]!.inputs[1], w)
})

test('an If whose condition is known becomes its branch', async () => {
  for (const [flag, expected] of [
    [1, [11, 22]],
    [0, [5, 6]],
  ] as const) {
    const model = branching()
    const { graph } = model
    const [x, condition] = graph.inputs
    assert.is(inlineBranches(model).modified, false)
    condition!.tensor = Tensor.of('bool', [], [flag])
    graph.inputs = [x!]
    graph.initializers.push(condition!)
    const [then, otherwise] = [...graph.nodes[1]!.subgraphs()]
    then!.nodes[0]!.outputs[0]!.name = 'c' // both branches use the name
    assert.is(inlineBranches(model).modified, true)
    verify(graph)
    assert.is(
      graph.nodes.some(node => node.opType === 'If'),
      false,
    )
    assert.is(graph.nodes.at(-2)!.outputs[0]!.name, 'c_1')
    assert.is(otherwise!.nodes[0]!.outputs[0]!.name, 'c')
    const results = await runModel(model, new Map([['x', floats([1, 2], [10, 20])]]))
    assert.equal(results.get('y')!.toNumbers(), expected)
  }
})

test('inference form: one output, stored statistics, no dropout', () => {
  const channel = floats([3], [1, 1, 1])
  const model = buildModel({
    inputs: { x: ['N', 3] },
    weights: {
      s: channel,
      b: channel,
      m: channel,
      v: channel,
      r: Tensor.scalar('float32', 0.5),
      t: Tensor.of('bool', [], [1]),
    },
    nodes: [
      ['BatchNormalization', ['x', 's', 'b', 'm', 'v'], ['h', 'rm', 'rv'], { training_mode: 1 }],
      ['Dropout', ['h', 'r', 't'], ['d']],
      ['Add', ['d', 'rm'], ['y']],
    ],
    outputs: ['y'],
  })
  assert.is(toInferenceForm(model).modified, true)
  verify(model.graph)
  assert.is(
    printGraph(model.graph).split('\n').slice(-4).join('\n'),
    `  h = BatchNormalization (x, s, b, m, v)
  d = Dropout (h, r)
  y = Add (d, m)
  return y`,
  )
  assert.is(toInferenceForm(model).modified, false)
})

test('inference form: statistics that leave the graph are refused', async () => {
  const channel = floats([3], [1, 1, 1])
  const model = buildModel({
    inputs: { x: ['N', 3] },
    weights: { s: channel, b: channel, m: channel, v: channel },
    nodes: [['BatchNormalization', ['x', 's', 'b', 'm', 'v'], ['y', 'rm', 'rv'], { training_mode: 1 }]],
    outputs: ['y', 'rm'],
  })
  assert.is(
    (await errorOf(() => toInferenceForm(model))).message,
    'BatchNormalization "BatchNormalization_0": its statistics "rm" are read, which inference does not give',
  )
})

test('batch size: first dimensions, given shapes, symbols in common, stale shapes forgotten', () => {
  const model = buildModel({
    inputs: { x: ['N', 3, 'H', 'H'], mask: [1, 'H'], k: [] },
    nodes: [['Relu', ['x'], ['y']]],
    outputs: ['y'],
  })
  const [y] = model.graph.outputs
  y!.type = { kind: 'tensor', dtype: 'float32', shape: ['N', 3, 'H', 'H'] }
  setBatchSize(model, 4, new Map([['x', [4, 3, 32, 32]]]))
  assert.equal(model.graph.inputs.map(String), [
    '%"x"<float32,[4,3,32,32]>',
    '%"mask"<float32,[4,32]>',
    '%"k"<float32,[]>',
  ])
  assert.is(y!.toString(), '%"y"<float32,?>')
})

test('batch size: what is left open or given wrongly', async () => {
  const model = () => buildModel({ inputs: { x: ['N', 3, 'H', null] }, nodes: [], outputs: [] })
  const messageFor = async (shapes: [string, number[]][]) =>
    (await errorOf(() => setBatchSize(model(), 2, new Map(shapes)))).message
  assert.is(
    await messageFor([]),
    'model: input %"x"<float32,[N,3,H,?]> leaves dimension H (axis 2), ? (axis 3) open',
  )
  assert.is(await messageFor([['z', [1]]]), 'model: no input is called "z", found "x"')
  assert.is(
    await messageFor([['x', [2, 3]]]),
    'model: input %"x"<float32,[N,3,H,?]> has rank 4, the shape given for it is [2,3]',
  )
})

test('a graph is verified', async () => {
  const messageOf = async (change: (model: ReturnType<typeof branching>) => void) => {
    const model = branching()
    change(model)
    return (await errorOf(() => verify(model.graph))).message
  }
  verify(branching().graph)
  assert.is(
    await messageOf(({ graph }) => graph.nodes.reverse()),
    'Add "Add_0": input 1 "v" is not defined in graph then or around it',
  )
  assert.is(
    await messageOf(({ graph }) => (graph.nodes[0]!.inputs = [new Value('lost')])),
    'Identity "Identity_0": input 0 "lost" is not defined in graph test',
  )
  assert.is(
    await messageOf(({ graph }) => (graph.nodes[0]!.outputs[0]!.name = 'x')),
    'graph test: value "x" is defined twice, by an input and by Identity "Identity_0"',
  )
  assert.is(
    await messageOf(({ graph }) => {
      graph.nodes.unshift(new Node('Relu', [graph.nodes[0]!.output(0)], [new Value('early')], { name: 'r' }))
    }),
    'Relu "r": input 0 "v" is read before Identity "Identity_0" makes it',
  )
  assert.is(
    await messageOf(({ graph }) => graph.outputs.push(new Value('z'))),
    'graph test: output "z" is not defined',
  )
  assert.is(
    await messageOf(({ graph }) => (graph.initializers[0]!.tensor = null)),
    'graph test: initializer "w" has no tensor',
  )
  assert.is(
    await messageOf(({ graph }) => (graph.nodes[0]!.outputs[0]!.producer = null)),
    'Identity "Identity_0": output "v" says that its producer is nothing',
  )
  assert.is(
    await messageOf(({ graph }) => (graph.inputs[0]!.producer = graph.nodes[0]!)),
    'graph test: an input "x" is produced by Identity "Identity_0" too',
  )
})

test('a cycle is named', async () => {
  const model = buildModel({
    inputs: { x: [2] },
    weights: { i: int64s(0) },
    nodes: [
      ['Add', ['x', 'b'], ['a']],
      ['Relu', ['a'], ['b']],
    ],
    outputs: ['b'],
  })
  assert.is((await errorOf(() => verify(model.graph))).message, 'graph: Relu "Relu_1" is part of a cycle')
})

test.run()
