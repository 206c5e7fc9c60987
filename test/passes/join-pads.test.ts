/** Sums of padded pieces as concatenations: what is joined, what is left, and that numbers stay. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Builder } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import { joinPads } from '../../src/passes/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { runModel } from '../support/ort.ts'

type Write = (op: Builder, pieces: readonly Value[]) => Value

/** A graph over three pieces [2, 2]. */
function graphOf(write: Write): Graph {
  const graph = new Graph('g')
  const names = ['a', 'b', 'c']
  const op = new Builder(names)
  graph.inputs = names.map(name => Value.typed(name, 'float32', [2, 2]))
  graph.outputs = [op.Identity(write(op, graph.inputs))]
  graph.nodes = op.nodes
  graph.initializers = op.initializers
  return graph
}

/** Row pads: begin and end of axis 0, in a tensor of `rows` rows. */
const at = (op: Builder, piece: Value, row: number, rows: number) =>
  op.Pad(piece, [row, 0, rows - row - 2, 0])

const FEEDS = {
  a: Tensor.of('float32', [2, 2], [1, 2, 3, 4]),
  b: Tensor.of('float32', [2, 2], [5, 6, 7, 8]),
  c: Tensor.of('float32', [2, 2], [9, 10, 11, 12]),
}

async function numbersOf(graph: Graph): Promise<number[]> {
  const [found] = Object.values(await runModel(new Model(graph, 8, new Map([['', 18]])), FEEDS))
  return found!.toNumbers()
}

async function check(write: Write, operators: readonly string[], expected: readonly number[]): Promise<void> {
  const graph = graphOf(write)
  const before = await numbersOf(graphOf(write))
  joinPads(graph)
  assert.equal(
    graph.nodes.map(({ opType }) => opType),
    operators,
  )
  assert.equal(await numbersOf(graph), before)
  assert.equal(before, expected)
}

test('pieces side by side, in whatever order they were added', () =>
  check(
    (op, [a, b, c]) => op.Add(op.Add(at(op, c!, 4, 6), at(op, a!, 0, 6)), at(op, b!, 2, 6)),
    ['Concat', 'Identity'],
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
  ))

test('gaps are filled with zeros', () =>
  check(
    (op, [a, b]) => op.Add(at(op, a!, 1, 6), at(op, b!, 4, 6)),
    ['Expand', 'Expand', 'Concat', 'Identity'],
    [0, 0, 1, 2, 3, 4, 0, 0, 5, 6, 7, 8],
  ))

test('pieces that overlap, or lie along different axes, are still added', async () => {
  await check(
    (op, [a, b]) => op.Add(at(op, a!, 0, 3), at(op, b!, 1, 3)),
    ['Pad', 'Pad', 'Add', 'Identity'],
    [1, 2, 8, 10, 7, 8],
  )
  await check(
    (op, [a, b]) => op.Add(op.Pad(a!, [1, 0, 0, 0]), op.Pad(op.Slice(b!, [0], [1], [1]), [1, 0, 0, 1])),
    ['Pad', 'Slice', 'Pad', 'Add', 'Identity'],
    [0, 0, 6, 2, 10, 4],
  )
})

test('padding with anything but zeros is left', () =>
  check(
    (op, [a, b]) => op.Add(op.Pad(a!, [0, 0, 2, 0], 1), at(op, b!, 2, 4)),
    ['Pad', 'Pad', 'Add', 'Identity'],
    [1, 2, 3, 4, 6, 7, 8, 9],
  ))

test('a sum that something else reads as well stays for that reader', () =>
  check(
    (op, [a, b, c]) => {
      const inner = op.Add(at(op, a!, 0, 6), at(op, b!, 2, 6))
      return op.Mul(op.Add(inner, at(op, c!, 4, 6)), inner)
    },
    ['Expand', 'Concat', 'Pad', 'Add', 'Mul', 'Identity'],
    [1, 4, 9, 16, 25, 36, 49, 64, 0, 0, 0, 0],
  ))

test.run()
