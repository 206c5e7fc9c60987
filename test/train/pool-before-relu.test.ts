/** MaxPool before Relu: when the order is changed. That numbers stay is in program.test.ts. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Builder, type Attributes } from '../../src/ir/builder.ts'
import { Graph } from '../../src/ir/graph.ts'
import { printGraph } from '../../src/ir/print.ts'
import { Value } from '../../src/ir/value.ts'
import { poolBeforeRelu } from '../../src/train/pool-before-relu.ts'

function pooled(
  attributes: Attributes,
  change: (op: Builder, graph: Graph) => void = () => undefined,
): Graph {
  const op = new Builder(['x', 'y'])
  const graph = new Graph('g')
  graph.inputs = [Value.typed('x', 'float32', [1, 2, 4, 4])]
  const activated = op.Relu(graph.inputs[0]!)
  const y = op.one('MaxPool', [activated], { shape: [1, 2, 2, 2] }, attributes)
  y.name = 'y'
  graph.outputs = [y]
  graph.nodes = op.nodes
  change(op, graph)
  poolBeforeRelu(graph, op)
  return graph
}

const halving = { kernel_shape: [2, 2], strides: [2, 2] }

test('the pooling goes first', () => {
  assert.snapshot(
    printGraph(pooled(halving)),
    `graph g (x<float32,[1,2,4,4]>)
  y/before_relu<float32,[1,2,2,2]> = MaxPool {kernel_shape=[2,2] strides=[2,2]} (x)
  y<float32,[1,2,2,2]> = Relu (y/before_relu)
  return y<float32,[1,2,2,2]>`,
  )
})

const typesOf = (graph: Graph) => graph.nodes.map(node => node.opType)

test('the order stays where the Relu is used elsewhere', () => {
  const read = pooled(halving, (op, graph) => graph.outputs.push(op.Neg(graph.nodes[0]!.output(0))))
  assert.equal(typesOf(read), ['Relu', 'MaxPool', 'Neg'])
  const output = pooled(halving, (_, graph) => graph.outputs.push(graph.nodes[0]!.output(0)))
  assert.equal(typesOf(output), ['Relu', 'MaxPool'])
})

test('the order stays where the indices of the pooling are asked for', () => {
  const graph = pooled(halving, (_, { nodes }) =>
    nodes[1]!.outputs.push(Value.typed('indices', 'int64', [1, 2, 2, 2])),
  )
  assert.equal(typesOf(graph), ['Relu', 'MaxPool'])
})

test('the order stays where a window may lie in the padding', () => {
  const far = { kernel_shape: [2, 2], strides: [4, 4], pads: [2, 2, 0, 0] }
  assert.equal(typesOf(pooled(far)), ['Relu', 'MaxPool'])
})

test.run()
