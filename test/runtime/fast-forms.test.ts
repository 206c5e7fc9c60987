/** Peepholes of the CPU engine: what they replace, what they leave, and that numbers stay. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Builder } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { printGraph } from '../../src/ir/print.ts'
import { Value } from '../../src/ir/value.ts'
import { toFastForms } from '../../src/runtime/ort-cpu/fast-forms.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { runModel } from '../support/ort.ts'

/** What `write` makes of two inputs of four values. */
function graphOf(write: (op: Builder, x: Value, dy: Value) => Value): Graph {
  const graph = new Graph('g')
  const op = new Builder(['x', 'dy'])
  graph.inputs = [Value.typed('x', 'float32', [4]), Value.typed('dy', 'float32', [4])]
  graph.outputs = [write(op, graph.inputs[0]!, graph.inputs[1]!)]
  graph.nodes = op.nodes
  graph.initializers = op.initializers
  return graph
}

const reluGradient = () =>
  graphOf((op, x, dy) => {
    const zero = op.scalar(0)
    return op.Where(op.Greater(op.Relu(x), zero), dy, zero)
  })

test('the gate of a Relu gradient becomes a product', () => {
  const graph = reluGradient()
  toFastForms(graph)
  assert.snapshot(
    printGraph(graph),
    `graph g (x<float32,[4]>, dy<float32,[4]>)
  Relu_0<float32,[4]> = Relu (x)
  Where_2/HardSigmoid_0<float32,[4]> = HardSigmoid {alpha=1e+38 beta=0} (Relu_0)
  Where_2<float32,[4]> = Mul (dy, Where_2/HardSigmoid_0)
  return Where_2<float32,[4]>`,
  )
})

test('and gives the same numbers, however small or large the activation', async () => {
  const feeds = {
    x: Tensor.of('float32', [4], [-1, 0, 1.5e-38, 3e38]),
    dy: Tensor.of('float32', [4], [3, 4, 5, -6]),
  }
  const graph = reluGradient()
  toFastForms(graph)
  for (const each of [reluGradient(), graph]) {
    const [found] = Object.values(await runModel(new Model(each, 8, new Map([['', 18]])), feeds))
    assert.equal(found!.toNumbers(), [0, 0, 5, -6])
  }
})

const relu6Gradient = (bound: number) =>
  graphOf((op, x, dy) => {
    const y = op.one('Clip', [x, op.scalar(0), op.scalar(bound)], { shape: x.shape })
    return op.Where(op.Equal(x, y), dy, op.scalar(0))
  })

test('the gate of a ReLU6 gradient becomes a product that reads the activation alone', async () => {
  const graph = relu6Gradient(6)
  toFastForms(graph)
  assert.equal(
    graph.nodes.map(node => node.opType),
    ['Clip', 'Sub', 'Mul', 'HardSigmoid', 'Mul'],
  )
  const feeds = {
    x: Tensor.of('float32', [4], [-1, 1e-20, 5.999999, 7]),
    dy: Tensor.of('float32', [4], [3, 4, 5, -6]),
  }
  for (const each of [relu6Gradient(6), graph]) {
    const [found] = Object.values(await runModel(new Model(each, 8, new Map([['', 18]])), feeds))
    assert.equal(found!.toNumbers().map(Math.abs), [0, 4, 5, 0])
  }
})

test('the gate of another Clip stays', () => {
  const graph = relu6Gradient(5)
  toFastForms(graph)
  assert.equal(
    graph.nodes.map(node => node.opType),
    ['Clip', 'Equal', 'Where'],
  )
})

const kept: Record<string, (op: Builder, x: Value, dy: Value) => Value> = {
  'a condition on something else than a Relu': (op, x, dy) =>
    op.Where(op.Greater(x, op.scalar(0)), dy, op.scalar(0)),
  'another threshold': (op, x, dy) => op.Where(op.Greater(op.Relu(x), op.scalar(1)), dy, op.scalar(0)),
  'another branch': (op, x, dy) => op.Where(op.Greater(op.Relu(x), op.scalar(0)), dy, op.scalar(2)),
  'another comparison': (op, x, dy) => op.Where(op.Less(op.Relu(x), op.scalar(0)), dy, op.scalar(0)),
}
for (const [title, write] of Object.entries(kept)) {
  test(`Where stays: ${title}`, () => {
    const graph = graphOf(write)
    const before = printGraph(graph)
    toFastForms(graph)
    assert.is(printGraph(graph), before)
  })
}

test('Sum of two becomes Add, a longer one stays', () => {
  const sum = (count: number) =>
    graphOf((op, x, dy) => op.one('Sum', [x, dy, x].slice(0, count), { shape: x.shape }))
  for (const [count, opType] of [
    [2, 'Add'],
    [3, 'Sum'],
  ] as const) {
    const graph = sum(count)
    toFastForms(graph)
    assert.equal(
      graph.nodes.map(node => node.opType),
      [opType],
    )
  }
})

test('rows of a ScatterND that meet are all added', async () => {
  const count = 20_000
  const graph = new Graph('g')
  const op = new Builder(['x', 'rows'])
  graph.inputs = [Value.typed('x', 'float32', [2, 3]), Value.typed('rows', 'float32', [count, 3])]
  const [x, rows] = graph.inputs as [Value, Value]
  const last = op.constant(Tensor.of('int64', [count, 1], new Array<bigint>(count).fill(-1n)))
  graph.outputs = [op.ScatterND(x, last, rows, 'add')]
  graph.nodes = op.nodes
  graph.initializers = op.initializers
  toFastForms(graph)
  const feeds = {
    x: Tensor.of('float32', [2, 3], [1, 2, 3, 4, 5, 6]),
    rows: Tensor.of('float32', [count, 3], new Array<number>(3 * count).fill(1)),
  }
  const found = await runModel(new Model(graph, 10, new Map([['', 20]])), feeds)
  assert.equal(found[graph.outputs[0]!.name]!.toNumbers(), [1, 2, 3, count + 4, count + 5, count + 6])
})

test.run()
