/** ONNX Runtime inlines functions by itself: what it computes with and without our inlining must be the same. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { float, type Attribute } from '../../src/ir/attribute.ts'
import type { Model } from '../../src/ir/graph.ts'
import { Node } from '../../src/ir/node.ts'
import { Value } from '../../src/ir/value.ts'
import { classifyWeights, cloneModel, inlineFunctions, verify } from '../../src/passes/index.ts'
import { deserializeModel, serializeModel } from '../../src/serde/index.ts'
import { buildGraph, floats, randoms, tensorAttribute } from './support/build.ts'
import { toCalls, withFunctions, type Definition } from './support/functions.ts'
import { runModel } from './support/run.ts'

const reference = (name: string, type: number): Attribute => ({ kind: 'reference', value: { name, type } })
const x = floats([2, 3], [1, -2, 3, -4, 5, -6])

async function assertInlines(model: Model): Promise<Model> {
  const { model: inlined } = cloneModel(model)
  assert.is(inlineFunctions(inlined).modified, true)
  assert.equal(inlined.functions, [])
  verify(inlined.graph)
  const feeds = new Map([['x', x]])
  const [expected, found] = [await runModel(model, feeds), await runModel(inlined, feeds)]
  assert.equal([...found.keys()], [...expected.keys()])
  for (const [name, tensor] of expected) assert.equal(found.get(name)!.toNumbers(), tensor.toNumbers(), name)
  return inlined
}

const linear: Definition = {
  name: 'Linear',
  body: {
    inputs: { a: [], w: [], b: [] },
    nodes: [
      ['MatMul', ['a', 'w'], ['h']],
      ['Add', ['h', 'b'], ['out']],
    ],
    outputs: ['out'],
  },
}

test('a function called twice: its weights are the arguments of the calls, and keep their names', async () => {
  const model = withFunctions(
    {
      inputs: { x: [2, 3] },
      weights: { w: randoms([3, 3], 2), b: randoms([3], 3) },
      nodes: [
        ['local::Linear', ['x', 'w', 'b'], ['h']],
        ['local::Linear', ['h', 'w', 'b'], ['y']],
      ],
      outputs: ['y'],
    },
    [linear],
  )
  const inlined = await assertInlines(model)
  const infos = await classifyWeights(inlined)
  assert.equal(
    infos.map(({ name, role, users }) => [name, role, users.map(user => user.opType)]),
    [
      ['w', 'parameter', ['MatMul', 'MatMul']],
      ['b', 'parameter', ['Add', 'Add']],
    ],
  )
})

test('nested, of two domains, with attributes of the call, defaults and optional inputs left out', async () => {
  const model = withFunctions(
    {
      inputs: { x: [2, 3] },
      weights: { high: floats([], [2]) },
      nodes: [
        ['other::Block', ['x', '', 'high'], ['h'], { slope: float(0.25) }],
        ['other::Block', ['h'], ['y']],
      ],
      outputs: ['y', 'h'],
    },
    [
      {
        domain: 'other',
        name: 'Block',
        body: {
          inputs: { a: [], low: [], high: [] },
          nodes: [
            ['local::Act', ['a'], ['r'], { alpha: reference('slope', 1) }],
            ['Clip', ['r', 'low', 'high'], ['out']],
          ],
          outputs: ['out'],
        },
        defaults: { slope: float(0.5) },
      },
      {
        name: 'Act',
        attributes: ['alpha'],
        body: {
          inputs: { a: [] },
          nodes: [['LeakyRelu', ['a'], ['out'], { alpha: reference('alpha', 1) }]],
          outputs: ['out'],
        },
      },
    ],
  )
  const inlined = await assertInlines(model)
  assert.equal(
    inlined.graph.nodes.map(node => [node.opType, node.float('alpha', -1)]),
    [
      ['LeakyRelu', 0.25],
      ['Clip', -1],
      ['LeakyRelu', 0.5],
      ['Clip', -1],
    ],
  )
})

test('a constant inside a body is one weight for all calls', async () => {
  const kernel = randoms([3, 3], 5)
  const model = withFunctions(
    {
      inputs: { x: [2, 3] },
      nodes: [
        ['local::Fixed', ['x'], ['h']],
        ['local::Fixed', ['h'], ['y']],
      ],
      outputs: ['y'],
    },
    [
      {
        name: 'Fixed',
        body: {
          inputs: { a: [] },
          nodes: [
            ['Constant', [], ['k'], { value: tensorAttribute(kernel) }],
            ['MatMul', ['a', 'k'], ['out']],
          ],
          outputs: ['out'],
        },
      },
    ],
  )
  const infos = await classifyWeights(await assertInlines(model))
  assert.equal(
    infos.map(({ role, users, tensor }) => [role, users.length, tensor === kernel]),
    [['parameter', 2, true]],
  )
})

test('outputs that are inputs, or twice the same, or not asked for', async () => {
  const model = withFunctions(
    {
      inputs: { x: [2, 3] },
      nodes: [
        ['local::Many', ['x'], ['same', 'a', 'b', '']],
        ['Add', ['a', 'b'], ['y']],
      ],
      outputs: ['y', 'same'],
    },
    [
      {
        name: 'Many',
        body: {
          inputs: { p: [] },
          nodes: [
            ['Relu', ['p'], ['r']],
            ['Neg', ['p'], ['n']],
          ],
          outputs: ['p', 'r', 'r', 'n'],
        },
      },
    ],
  )
  inlineFunctions(model)
  verify(model.graph)
  const found = await runModel(model, new Map([['x', x]]))
  assert.equal(found.get('same')!.toNumbers(), x.toNumbers())
  assert.equal(
    found.get('y')!.toNumbers(),
    x.toNumbers().map(value => 2 * Math.max(0, value)),
  )
})

test('a call inside a branch, and a branch inside a body', async () => {
  const model = withFunctions(
    { inputs: { x: [2, 3] }, weights: { yes: floats([], [1]) }, nodes: [], outputs: [] },
    [
      {
        name: 'Choose',
        body: { inputs: { a: [] }, nodes: [['Neg', ['a'], ['out']]], outputs: ['out'] },
      },
      { name: 'Twice', body: { inputs: { a: [] }, nodes: [['Add', ['a', 'a'], ['out']]], outputs: ['out'] } },
    ],
  )
  const { graph, functions } = model
  const [input] = graph.inputs
  const branch = (opType: string, outer: Value) => {
    const body = buildGraph(
      `${opType} branch`,
      { inputs: {}, nodes: [[opType, [outer.name], [`${opType}/o`]]], outputs: [`${opType}/o`] },
      [outer],
    )
    toCalls(body.nodes)
    return { kind: 'graph', value: body } as const
  }
  const choose = functions[0]!.graph
  const condition = (outer: Value, name: string) => {
    const sum = new Node('ReduceSum', [outer], [new Value(`${name}/sum`)], {
      attributes: new Map([['keepdims', { kind: 'int', value: 0n }]]),
    })
    const zero = new Node('Constant', [], [new Value(`${name}/zero`)], {
      attributes: new Map([['value_float', float(0)]]),
    })
    const greater = new Node('Greater', [sum.output(0), zero.output(0)], [new Value(`${name}/c`)])
    return [sum, zero, greater]
  }
  const put = (outer: Value, name: string, output: Value, then: string, otherwise: string) => {
    const nodes = condition(outer, name)
    const attributes = new Map<string, Attribute>([
      ['then_branch', branch(then, outer)],
      ['else_branch', branch(otherwise, outer)],
    ])
    return [...nodes, new Node('If', [nodes.at(-1)!.output(0)], [output], { name, attributes })]
  }
  const inner = new Value('chosen')
  choose.nodes = put(choose.inputs[0]!, 'inner', inner, 'Neg', 'local::Twice')
  choose.outputs = [inner]
  const [h, y] = [new Value('h'), new Value('y')]
  graph.nodes = [
    new Node('Choose', [input!], [h], { domain: 'local', name: 'call' }),
    ...put(h, 'outer', y, 'local::Choose', 'local::Twice'),
  ]
  graph.outputs = [y]
  await assertInlines(model)
})

test('bodies of another opset are rewritten in the one of the model', async () => {
  const model = withFunctions(
    { inputs: { x: [2, 3] }, opset: 20, nodes: [['local::Norm', ['x'], ['y']]], outputs: ['y'] },
    [
      {
        name: 'Norm',
        opset: 17,
        body: {
          inputs: { a: [] },
          nodes: [
            ['ReduceMean', ['a'], ['m'], { axes: [1] }],
            ['Sub', ['a', 'm'], ['out']],
          ],
          outputs: ['out'],
        },
      },
    ],
  )
  const { model: inlined } = cloneModel(model)
  inlineFunctions(inlined)
  assert.is(inlined.opset, 20)
  const found = await runModel(inlined, new Map([['x', x]]))
  const [a, b] = [2 / 3, -5 / 3]
  const expected = x.toNumbers().map((value, i) => value - (i < 3 ? a : b))
  found
    .get('y')!
    .toNumbers()
    .forEach((value, i) => assert.ok(Math.abs(value - expected[i]!) < 1e-6))
})

test('a function that calls itself, and calls with too many inputs, are refused', () => {
  const loop = withFunctions({ inputs: { x: [2, 3] }, nodes: [['local::F', ['x'], ['y']]], outputs: ['y'] }, [
    { name: 'F', body: { inputs: { a: [] }, nodes: [['local::F', ['a'], ['out']]], outputs: ['out'] } },
  ])
  assert.throws(() => inlineFunctions(loop), 'local.F "F/local::F_0": function local.F calls itself')
  const many = withFunctions(
    { inputs: { x: [2, 3] }, nodes: [['local::F', ['x', 'x'], ['y']]], outputs: ['y'] },
    [{ name: 'F', body: { inputs: { a: [] }, nodes: [['Neg', ['a'], ['out']]], outputs: ['out'] } }],
  )
  assert.throws(
    () => inlineFunctions(many),
    'function local.F has 1 inputs and 1 outputs, found 2 inputs and 1 outputs',
  )
})

test('defaults of attributes survive reading and writing', async () => {
  const model = withFunctions(
    { inputs: { x: [2, 3] }, nodes: [['local::Act', ['x'], ['y']]], outputs: ['y'] },
    [
      {
        name: 'Act',
        body: {
          inputs: { a: [] },
          nodes: [['LeakyRelu', ['a'], ['out'], { alpha: reference('alpha', 1) }]],
          outputs: ['out'],
        },
        defaults: { alpha: float(0.125) },
      },
    ],
  )
  const again = await deserializeModel(await serializeModel(model))
  inlineFunctions(again)
  assert.is(again.graph.nodes[0]!.float('alpha', -1), 0.125)
})

test.run()
