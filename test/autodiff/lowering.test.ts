/** Lowering: what is replaced, what stays, and that alternative lowerings agree with PyTorch's gradients. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  averagePoolGrad,
  COMPOSITES,
  convWeightGrad,
  maxPoolGrad,
  sigmoidCrossEntropy,
  softmaxCrossEntropy,
} from '../../src/autodiff/composites.ts'
import { convWeightGradByConv } from '../../src/autodiff/lowering/convolution.ts'
import {
  COMPOSITE_LOWERINGS,
  lowerComposites,
  type CompositeLowerings,
  type Lowering,
} from '../../src/autodiff/lowering/index.ts'
import { maxPoolGradByComparison } from '../../src/autodiff/lowering/pooling.ts'
import { COMPOSITE_DOMAIN } from '../../src/autodiff/rule.ts'
import { Builder } from '../../src/ir/builder.ts'
import { Graph } from '../../src/ir/graph.ts'
import { Node } from '../../src/ir/node.ts'
import { printGraph } from '../../src/ir/print.ts'
import { Value } from '../../src/ir/value.ts'
import { poolWindow, type WindowAxis } from '../../src/ops/window.ts'
import type { Shape } from '../../src/tensor/shape.ts'
import { errorOf } from '../support/errors.ts'
import { checkOpCase, opCases } from '../support/op-fixture.ts'

const input = (name: string, shape: Shape) => Value.typed(name, 'float32', shape)

function graphOf(op: Builder, inputs: Value[], outputs: Value[]): Graph {
  const graph = new Graph('g')
  graph.inputs = inputs
  graph.initializers = op.initializers
  graph.nodes = op.nodes
  graph.outputs = outputs
  return graph
}

/** y = MaxPool(x) and the gradient of x for dy. */
function pooled(): Graph {
  const op = new Builder(['x', 'dy'])
  const [x, dy] = [input('x', [1, 1, 4, 4]), input('dy', [1, 1, 2, 2])]
  const y = op.one('MaxPool', [x], { shape: dy.shape }, { kernel_shape: [2, 2], strides: [2, 2] })
  y.name = 'y'
  const dx = maxPoolGrad(op, dy, x, y, poolWindow(op.nodes[0]!))
  dx.name = 'dx'
  return graphOf(op, [x, dy], [y, dx])
}

test('MaxPoolGrad asks the forward node for its indices', () => {
  assert.snapshot(
    printGraph(lowerComposites(pooled(), COMPOSITE_LOWERINGS)),
    `graph g (x<float32,[1,1,4,4]>, dy<float32,[1,1,2,2]>)
  weight const_0<int64,[1]>
  weight const_1<float32,[]>
  weight const_2<int64,[1]>
  weight const_3<int64,[4]>
  y<float32,[1,1,2,2]>, y:1<int64,[1,1,2,2]> = MaxPool {kernel_shape=[2,2] strides=[2,2]} (x)
  MaxPoolGrad_1/Reshape_0<int64,[4]> = Reshape (y:1, const_0)
  MaxPoolGrad_1/Expand_1<float32,[16]> = Expand (const_1, const_2)
  MaxPoolGrad_1/Reshape_2<float32,[4]> = Reshape (dy, const_0)
  MaxPoolGrad_1/ScatterElements_3<float32,[16]> = ScatterElements {axis=0 reduction="add"} (MaxPoolGrad_1/Expand_1, MaxPoolGrad_1/Reshape_0, MaxPoolGrad_1/Reshape_2)
  dx<float32,[1,1,4,4]> = Reshape (MaxPoolGrad_1/ScatterElements_3, const_3)
  return y<float32,[1,1,2,2]>, dx<float32,[1,1,4,4]>`,
  )
})

test('the graph before lowering stays as it is', () => {
  const graph = pooled()
  const before = printGraph(graph)
  const lowered = lowerComposites(graph, COMPOSITE_LOWERINGS)
  assert.is(printGraph(graph), before)
  assert.is(graph.outputs[1]!.producer!.domain, COMPOSITE_DOMAIN)
  assert.is(lowered.outputs[1]!.producer!.opType, 'Reshape')
  assert.is(printGraph(lowerComposites(graph, COMPOSITE_LOWERINGS)), printGraph(lowered))
})

test('average pooling without overlap, and in one window, is a few products', () => {
  const axis = (over: Partial<WindowAxis>): WindowAxis => ({
    ...{ input: 4, output: 2, kernel: 2, stride: 2, dilation: 1, begin: 0, end: 0 },
    ...over,
  })
  const op = new Builder(['dy'])
  const dy = input('dy', [1, 3, 2, 4])
  const dx = averagePoolGrad(
    op,
    dy,
    [1, 3, 4, 4],
    [axis({}), axis({ output: 4, kernel: 1, stride: 1 })],
    false,
  )
  const lowered = lowerComposites(graphOf(op, [dy], [dx]), COMPOSITE_LOWERINGS)
  assert.equal(
    lowered.nodes.map(node => node.opType),
    ['Reshape', 'MatMul', 'Reshape'],
    'the second axis is the identity',
  )
})

/** The default table with one row replaced. */
const having = (row: Partial<CompositeLowerings>): CompositeLowerings => ({ ...COMPOSITE_LOWERINGS, ...row })

function lossGraph(): Graph {
  const op = new Builder(['x', 't'])
  const [x, t] = [input('x', [2, 3]), input('t', [2, 3])]
  const loss = sigmoidCrossEntropy(op, x, t)
  loss.name = 'loss'
  const after = op.Relu(loss)
  after.name = 'after'
  return graphOf(op, [x, t], [loss, after])
}

test('a result that exists already is copied to keep the name of the output', () => {
  const lowered = lowerComposites(lossGraph(), having({ SigmoidCrossEntropy: ({ inputs }) => [inputs[0]!] }))
  assert.snapshot(
    printGraph(lowered),
    `graph g (x<float32,[2,3]>, t<float32,[2,3]>)
  loss<float32,[2,3]> = Identity (x)
  after<float32,[2,3]> = Relu (loss)
  return loss<float32,[2,3]>, after<float32,[2,3]>`,
  )
})

test('composites that a lowering writes are lowered in their turn', () => {
  const twice: Lowering = ({ op, inputs: [x, t] }) => {
    const inner = softmaxCrossEntropy(op, x!, t!, 1)
    return [op.Expand(inner, [2, 3])]
  }
  const lowered = lowerComposites(lossGraph(), having({ SigmoidCrossEntropy: twice }))
  assert.ok(lowered.nodes.every(node => node.domain === ''))
  assert.is(lowered.nodes.at(-2)!.output(0).name, 'loss')
  assert.is(lowered.nodes.at(-2)!.input(0).producer!.opType, 'Neg')
})

test('one value may stand for several outputs', () => {
  const op = new Builder(['x', 't'])
  const [x, t] = [input('x', [1]), input('t', [1])]
  const node = new Node('SigmoidCrossEntropy', [x, t], [input('a', [1]), input('b', [1])], {
    domain: COMPOSITE_DOMAIN,
  })
  op.nodes.push(node)
  const same: Lowering = ({ op: tape, inputs }) => {
    const sum = tape.Add(inputs[0]!, inputs[1]!)
    return [sum, sum]
  }
  const graph = graphOf(op, [x, t], [node.output(0), node.output(1)])
  const lowered = lowerComposites(graph, having({ SigmoidCrossEntropy: same }))
  assert.snapshot(
    printGraph(lowered),
    `graph g (x<float32,[1]>, t<float32,[1]>)
  a<float32,[1]> = Add (x, t)
  b<float32,[1]> = Identity (a)
  return a<float32,[1]>, b<float32,[1]>`,
  )
})

test('outputs that nobody reads are not wanted', () => {
  const op = new Builder(['x', 't'])
  const [x, t] = [input('x', [2, 3]), input('t', [2, 3])]
  const loss = softmaxCrossEntropy(op, x, t, 1)
  const seen: boolean[] = []
  const spy: Lowering = context => {
    seen.push(context.wants(0), context.wants(1), context.wants(2))
    return COMPOSITE_LOWERINGS.SoftmaxCrossEntropy(context)
  }
  lowerComposites(graphOf(op, [x, t], [loss]), having({ SoftmaxCrossEntropy: spy }))
  assert.equal(seen, [true, false, false])
})

test('what a lowering gets wrong is said', async () => {
  const message = async (lowering: Lowering) =>
    (await errorOf(() => lowerComposites(lossGraph(), having({ SigmoidCrossEntropy: lowering })))).message
  const label = 'swa.composite.SigmoidCrossEntropy "SigmoidCrossEntropy_0"'
  assert.is(await message(() => []), `internal: lowering gives no output 0 of ${label}`)
  assert.is(
    await message(({ op }) => [op.scalar(1)]),
    `internal: lowering gives %"const_0"<float32,[]> as output 0 of ${label}, expected %"loss"<float32,[2,3]>`,
  )
  const graph = lossGraph()
  const unknown = new Node('Other', [], [input('o', [1])], { domain: COMPOSITE_DOMAIN, name: 'other' })
  graph.nodes.push(unknown)
  const refused = async (broken: Graph) =>
    (await errorOf(() => lowerComposites(broken, COMPOSITE_LOWERINGS))).message
  assert.is(await refused(graph), 'internal: no lowering for swa.composite.Other "other"')
  const outer = new Graph('outer')
  outer.nodes = [
    new Node('If', [], [], {
      name: 'if',
      attributes: new Map([['then_branch', { kind: 'graph', value: lossGraph() }]]),
    }),
  ]
  assert.is(await refused(outer), `internal: ${label} is inside a sub-graph: lower it before it is put there`)
})

test('every composite has a lowering', () => {
  assert.equal(Object.keys(COMPOSITE_LOWERINGS).sort(), [...COMPOSITES].sort())
})

test('ConvWeightGrad of a 1x1 convolution slices nothing', () => {
  const op = new Builder(['x', 'dy'])
  const [x, dy] = [input('x', [2, 4, 3, 3]), input('dy', [2, 5, 3, 3])]
  const axis = { input: 3, output: 3, kernel: 1, stride: 1, dilation: 1, begin: 0, end: 0 }
  const dw = convWeightGrad(op, x, dy, [axis, axis], 1)
  const lowered = lowerComposites(graphOf(op, [x, dy], [dw]), COMPOSITE_LOWERINGS)
  assert.equal(
    lowered.nodes.map(node => node.opType),
    ['Reshape', 'Reshape', 'Transpose', 'MatMul', 'ReduceSum', 'Transpose', 'Reshape'],
  )
})

const lowerings = having({ ConvWeightGrad: convWeightGradByConv })
for (const fixture of opCases().filter(({ op }) => op.startsWith('Conv'))) {
  test(`${fixture.name} with the weight gradient as a convolution`, () => checkOpCase(fixture, { lowerings }))
}

const comparing = having({ MaxPoolGrad: maxPoolGradByComparison })
for (const fixture of opCases().filter(({ op }) => op === 'MaxPool')) {
  test(`${fixture.name} without indices`, () => checkOpCase(fixture, { lowerings: comparing }))
}

test.run()
