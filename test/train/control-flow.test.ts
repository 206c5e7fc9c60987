/** Loops, scans, branches and sequences that are written out: ONNX Runtime, which executes them itself, is the truth. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Attribute } from '../../src/ir/attribute.ts'
import type { Graph, Model } from '../../src/ir/graph.ts'
import type { Value } from '../../src/ir/value.ts'
import { classifyWeights, cloneModel, liftConstants, verify } from '../../src/passes/index.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { openControlFlow, refuseControlFlow } from '../../src/train/open-control-flow.ts'
import {
  buildGraph,
  buildModel,
  floats,
  int64s,
  randoms,
  tensorAttribute,
  type NodeRow,
} from '../passes/support/build.ts'
import { runModel } from '../passes/support/run.ts'

const x = floats([2, 3], [1, -2, 3, -4, 5, -6])
const feeds = new Map([['x', x]])
const scalar = (value: number) => Tensor.scalar('int64', value)
const yes = Tensor.of('bool', [], [1])
const graphOf = (value: Graph): Attribute => ({ kind: 'graph', value })

interface Case {
  readonly title: string
  readonly weights: Readonly<Record<string, Tensor>>
  readonly nodes: (outer: readonly Value[]) => readonly NodeRow[]
  readonly outputs?: readonly string[]
  /** Operators that are left. */
  readonly left?: readonly string[]
}

/** A model whose bodies may read `x` and the weights. */
function modelOf({ weights, nodes, outputs = ['y'] }: Case): Model {
  const first = buildModel({ inputs: { x: [2, 3] }, weights, nodes: [], outputs: [] })
  const outer = [...first.graph.inputs, ...first.graph.initializers]
  const { graph } = first
  const body = buildGraph('main', { inputs: {}, nodes: nodes(outer), outputs: [...outputs] }, outer)
  graph.nodes = body.nodes
  graph.outputs = body.outputs
  return first
}

/** h <- Relu(h @ k) + w, and h of every iteration as a stack; k is a Constant of the body. */
const loopBody = (outer: readonly Value[], named = 'loop') =>
  graphOf(
    buildGraph(
      named,
      {
        inputs: { i: [{ dtype: 'int64' }], c: [{ dtype: 'bool' }], h: [2, 3] },
        nodes: [
          ['Constant', [], ['k'], { value: tensorAttribute(randoms([3, 3], 4)) }],
          ['MatMul', ['h', 'k'], ['m']],
          ['Relu', ['m'], ['r']],
          ['Add', ['r', 'w'], ['out']],
          ['Identity', ['c'], ['keep']],
          ['Identity', ['out'], ['layer']],
        ],
        outputs: ['keep', 'out', 'layer'],
      },
      outer,
    ),
  )

const cases: readonly Case[] = [
  {
    title: 'a Loop with a constant trip count, carried and stacked outputs',
    weights: { n: scalar(4), yes, w: randoms([3], 2) },
    nodes: outer => [['Loop', ['n', 'yes', 'x'], ['y', 'all'], { body: loopBody(outer) }]],
    outputs: ['y', 'all'],
  },
  {
    title: 'a trip count that follows from a shape, without a condition',
    weights: { w: randoms([3], 2), one: int64s(1) },
    nodes: outer => [
      ['Shape', ['x'], ['s']],
      ['Gather', ['s', 'one'], ['d']],
      ['Squeeze', ['d'], ['n']],
      ['Loop', ['n', '', 'x'], ['y', 'rest'], { body: loopBody(outer) }],
    ],
  },
  {
    title: 'a counter of one element, at which the body cuts',
    weights: { n: scalar(3), one: int64s(1), w: randoms([2, 1], 2) },
    nodes: outer => [
      [
        'Loop',
        ['n', '', 'x'],
        ['rest', 'y'],
        {
          body: graphOf(
            buildGraph(
              'body',
              {
                inputs: { i: [{ dtype: 'int64' }, 1], c: [{ dtype: 'bool' }], h: [2, 3] },
                nodes: [
                  ['Add', ['i', 'one'], ['next']],
                  ['Slice', ['h', 'i', 'next', 'one'], ['column']],
                  ['Mul', ['column', 'w'], ['layer']],
                  ['Identity', ['c'], ['keep']],
                  ['Identity', ['h'], ['same']],
                ],
                outputs: ['keep', 'same', 'layer'],
              },
              outer,
            ),
          ),
        },
      ],
    ],
    outputs: ['y', 'rest'],
  },
  {
    title: 'a Scan over the columns, backwards, stacked as columns',
    weights: { start: floats([2], [0.5, -0.5]) },
    nodes: () => [
      [
        'Scan',
        ['start', 'x'],
        ['last', 'y'],
        {
          num_scan_inputs: 1,
          scan_input_axes: [1],
          scan_input_directions: [1],
          scan_output_axes: [1],
          scan_output_directions: [1],
          body: graphOf(
            buildGraph('scan', {
              inputs: { sum: [2], part: [2] },
              nodes: [
                ['Add', ['sum', 'part'], ['next']],
                ['Neg', ['next'], ['shown']],
              ],
              outputs: ['next', 'shown'],
            }),
          ),
        },
      ],
    ],
    outputs: ['y', 'last'],
  },
  {
    title: 'an If inside a Loop whose condition follows from a shape',
    weights: { n: scalar(2), three: scalar(3), one: scalar(1) },
    nodes: outer => [
      [
        'Loop',
        ['n', '', 'x'],
        ['y'],
        {
          body: graphOf(
            buildGraph(
              'body',
              {
                inputs: { i: [{ dtype: 'int64' }], c: [{ dtype: 'bool' }], h: [2, 3] },
                nodes: [
                  ['Shape', ['h'], ['s']],
                  ['Gather', ['s', 'one'], ['d']],
                  ['Equal', ['d', 'three'], ['wide']],
                  [
                    'If',
                    ['wide'],
                    ['out'],
                    {
                      then_branch: graphOf(
                        buildGraph(
                          'then',
                          { inputs: {}, nodes: [['Tanh', ['x'], ['t']]], outputs: ['t'] },
                          outer,
                        ),
                      ),
                      else_branch: graphOf(
                        buildGraph(
                          'else',
                          { inputs: {}, nodes: [['Neg', ['x'], ['e']]], outputs: ['e'] },
                          outer,
                        ),
                      ),
                    },
                  ],
                  ['Identity', ['c'], ['keep']],
                ],
                outputs: ['keep', 'out'],
              },
              outer,
            ),
          ),
        },
      ],
    ],
  },
  {
    title: 'sequences: split, inserted, read from both ends and joined',
    weights: { zero: scalar(0), last: scalar(-1) },
    nodes: () => [
      ['SplitToSequence', ['x'], ['s'], { axis: 1, keepdims: 0 }],
      ['SequenceAt', ['s', 'last'], ['z']],
      ['SequenceInsert', ['s', 'z', 'zero'], ['t']],
      ['SequenceErase', ['t', 'last'], ['u']],
      ['ConcatFromSequence', ['u'], ['y'], { axis: 1, new_axis: 1 }],
      ['SequenceLength', ['t'], ['n']],
    ],
    outputs: ['y', 'n'],
  },
]

const CONTROL = ['Loop', 'Scan', 'If']

for (const row of cases) {
  test(row.title, async () => {
    const model = modelOf(row)
    const expected = await runModel(model, feeds)
    const { model: opened } = cloneModel(model)
    liftConstants(opened)
    await openControlFlow(cpuEngine(), opened, feeds)
    verify(opened.graph)
    const left = opened.graph.nodes.filter(
      ({ opType }) => CONTROL.includes(opType) || opType.includes('Sequence'),
    )
    assert.equal(
      left.map(({ label }) => label),
      [],
    )
    const found = await runModel(opened, feeds)
    for (const [name, tensor] of expected) {
      assert.equal([...found.get(name)!.dims], [...tensor.dims], name)
      const values = tensor.toNumbers()
      found
        .get(name)!
        .toNumbers()
        .forEach((value, i) => {
          assert.ok(Math.abs(value - values[i]!) <= 1e-6 * Math.max(1, Math.abs(values[i]!)), `${name}[${i}]`)
        })
    }
  })
}

test('weights of a body are one weight for all iterations, and trained', async () => {
  const { model } = cloneModel(modelOf(cases[0]!))
  liftConstants(model)
  await openControlFlow(cpuEngine(), model, feeds)
  const infos = await classifyWeights(model)
  assert.equal(
    infos
      .filter(({ trainable }) => trainable)
      .map(({ role, users }) => [role, users.map(({ opType }) => opType).join()]),
    [
      ['parameter', 'Add,Add,Add,Add'],
      ['parameter', 'MatMul,MatMul,MatMul,MatMul'],
    ],
  )
})

test('loops that cannot be written out are refused where a gradient would pass them', async () => {
  const dataDependent: Case = {
    title: '',
    weights: { w: randoms([3], 2), zero: floats([], [0]) },
    nodes: outer => [
      ['ReduceMax', ['x'], ['most'], { keepdims: 0 }],
      ['Cast', ['most'], ['n'], { to: 7 }],
      ['Loop', ['n', '', 'x'], ['y', 'rest'], { body: loopBody(outer) }],
    ],
  }
  const long: Case = {
    ...dataDependent,
    weights: { w: randoms([3], 2), n: scalar(300) },
    nodes: outer => [['Loop', ['n', '', 'x'], ['y', 'rest'], { body: loopBody(outer) }]],
  }
  for (const [row, why] of [
    [dataDependent, 'its trip count depends on the data'],
    [long, 'its 300 iterations make 1800 nodes, unrolled are at most 256 iterations and 20000 nodes'],
  ] as const) {
    const { model } = cloneModel(modelOf(row))
    liftConstants(model)
    await openControlFlow(cpuEngine(), model, feeds)
    const w = model.graph.initializers.find(({ name }) => name === 'w')!
    const label = model.graph.nodes.find(({ opType }) => opType === 'Loop')!.label
    assert.throws(
      () => refuseControlFlow(model, [w]),
      (error: Error) => error.message === `${label}: ${why}, so no gradient passes it`,
    )
    refuseControlFlow(model, [])
  }
})

test.run()
