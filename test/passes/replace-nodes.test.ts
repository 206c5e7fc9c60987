/** Forms that replace nodes: names stay, chains go on, what nobody needs goes, and forms without an end are caught. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Builder } from '../../src/ir/builder.ts'
import { Graph } from '../../src/ir/graph.ts'
import { printGraph } from '../../src/ir/print.ts'
import { Value } from '../../src/ir/value.ts'
import { replaceNodes, type NodeForm } from '../../src/passes/index.ts'

/** A graph of one input x of four values. */
function graphOf(write: (op: Builder, x: Value) => Value[]): Graph {
  const graph = new Graph('g')
  const op = new Builder(['x'])
  graph.inputs = [Value.typed('x', 'float32', [4])]
  graph.outputs = write(op, graph.inputs[0]!)
  graph.nodes = op.nodes
  graph.initializers = op.initializers
  return graph
}

/** Sum of many as a chain of Add. */
const sumAsAdds: NodeForm = (op, node) =>
  node.inputs.map((_, i) => node.input(i)).reduce((sum, next) => op.Add(sum, next))

test('a node becomes several, and its output keeps its name', () => {
  const graph = graphOf((op, x) => [op.Relu(op.one('Sum', [x, x, x], { shape: x.shape }))])
  replaceNodes(graph, { Sum: [sumAsAdds] })
  assert.snapshot(
    printGraph(graph),
    `graph g (x<float32,[4]>)
  Sum_0/Add_0<float32,[4]> = Add (x, x)
  Sum_0<float32,[4]> = Add (Sum_0/Add_0, x)
  Relu_1<float32,[4]> = Relu (Sum_0)
  return Relu_1<float32,[4]>`,
  )
})

test('the first form that applies is taken, and what it writes is offered again', () => {
  const never: NodeForm = () => null
  const doubled: NodeForm = (op, node) =>
    node.input(0) === node.input(1) ? op.Mul(node.input(0), op.scalar(2)) : null
  const graph = graphOf((op, x) => [op.one('Sum', [x, x], { shape: x.shape })])
  replaceNodes(graph, { Sum: [never, sumAsAdds], Add: [doubled] })
  assert.equal(
    graph.nodes.map(({ opType }) => opType),
    ['Mul'],
  )
  assert.is(graph.nodes[0]!.output(0), graph.outputs[0])
})

test('a form that gives an input back leaves a copy under the old name', () => {
  const graph = graphOf((op, x) => [op.one('Mean', [x], { shape: x.shape })])
  replaceNodes(graph, { Mean: [(_, node) => node.input(0)] })
  assert.equal(
    graph.nodes.map(({ opType, inputs }) => [opType, inputs[0]!.name]),
    [['Identity', 'x']],
  )
})

test('a form learns which outputs are read and need not write the others', () => {
  const asked: boolean[][] = []
  const firstHalf: NodeForm = (op, node, reads) => {
    asked.push([reads(0), reads(1)])
    return [op.Slice(node.input(0), [0], [2], [0]), null]
  }
  const graph = graphOf((op, x) => [op.Relu(op.Split(x, [2, 2], 0)[0]!)])
  replaceNodes(graph, { Split: [firstHalf] })
  assert.equal(asked, [[true, false]])
  assert.equal(
    graph.nodes.map(({ opType }) => opType),
    ['Slice', 'Relu'],
  )
})

test('a wrong shape, a missing output and forms without an end are our own errors', () => {
  const sum = () => graphOf((op, x) => [op.one('Sum', [x, x], { shape: x.shape })])
  assert.throws(
    () => replaceNodes(sum(), { Sum: [(op, node) => op.ReduceSum(node.input(0), [0])] }),
    /internal: lowering gives .*float32,\[1\].* as output 0 of .*Sum.*, expected .*float32,\[4\]/,
  )
  assert.throws(
    () => replaceNodes(sum(), { Sum: [() => [null]] }),
    /internal: lowering gives no output 0 of .*Sum/,
  )
  const again: NodeForm = (op, node) => op.one('Sum', [node.input(0)], { shape: [4] })
  assert.throws(
    () => replaceNodes(sum(), { Sum: [again] }),
    /internal: the forms of .*Sum.* replace each other/,
  )
})

test.run()
