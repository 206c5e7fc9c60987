import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { findLogits } from '../../src/passes/index.ts'
import { errorOf } from '../support/errors.ts'
import { buildModel, int64s, type NodeRow } from './support/build.ts'

function model(nodes: readonly NodeRow[], outputs: readonly string[] = ['y'], opset = 18) {
  return buildModel({ inputs: { x: ['N', 10] }, weights: { shape: int64s(-1, 10) }, nodes, outputs, opset })
}

interface Row {
  readonly title: string
  readonly nodes: readonly NodeRow[]
  readonly opset?: number
  /** Activation, the value before it, axis, notes. */
  readonly expected: readonly [string, string, number | null, ...string[]]
}

const rows: readonly Row[] = [
  { title: 'logits as they are', nodes: [['Relu', ['x'], ['y']]], expected: ['none', 'y', null] },
  {
    title: 'a reshape alone does not move the loss',
    nodes: [
      ['Relu', ['x'], ['h']],
      ['Reshape', ['h', 'shape'], ['y']],
    ],
    expected: ['none', 'y', null],
  },
  {
    title: 'Softmax',
    nodes: [
      ['Relu', ['x'], ['h']],
      ['Softmax', ['h'], ['y']],
    ],
    expected: ['softmax', 'h', -1, 'output "y" is a softmax (Softmax "Softmax_1"); the loss uses "h"'],
  },
  {
    title: 'Softmax before opset 13 means axis 1',
    opset: 11,
    nodes: [
      ['Relu', ['x'], ['h']],
      ['Softmax', ['h'], ['y']],
    ],
    expected: ['softmax', 'h', 1, 'output "y" is a softmax (Softmax "Softmax_1"); the loss uses "h"'],
  },
  {
    title: 'LogSoftmax on a stated axis',
    nodes: [['LogSoftmax', ['x'], ['y'], { axis: 1 }]],
    expected: [
      'log_softmax',
      'x',
      1,
      'output "y" is a log_softmax (LogSoftmax "LogSoftmax_0"); the loss uses "x"',
    ],
  },
  {
    title: 'Log of Softmax',
    nodes: [
      ['Softmax', ['x'], ['p']],
      ['Log', ['p'], ['y']],
    ],
    expected: [
      'log_softmax',
      'x',
      -1,
      'output "y" is a log_softmax (Softmax "Softmax_0"); the loss uses "x"',
    ],
  },
  {
    title: 'Sigmoid behind Identity and Cast',
    nodes: [
      ['Relu', ['x'], ['h']],
      ['Sigmoid', ['h'], ['s']],
      ['Cast', ['s'], ['c'], { to: 1 }],
      ['Identity', ['c'], ['y']],
    ],
    expected: ['sigmoid', 'h', null, 'output "y" is a sigmoid (Sigmoid "Sigmoid_1"); the loss uses "h"'],
  },
  {
    title: 'Softmax behind a reshape: the shape is told',
    nodes: [
      ['Softmax', ['x'], ['p']],
      ['Flatten', ['p'], ['f']],
      ['Reshape', ['f', 'shape'], ['y']],
    ],
    expected: [
      'softmax',
      'x',
      -1,
      'output "y" is a softmax (Softmax "Softmax_0"); the loss uses "x"',
      'the loss sees the shape before Flatten "Flatten_1", Reshape "Reshape_2"',
    ],
  },
  {
    title: 'a Softmax inside the model is none of its business',
    nodes: [
      ['Softmax', ['x'], ['p']],
      ['Relu', ['p'], ['y']],
    ],
    expected: ['none', 'y', null],
  },
]

for (const { title, nodes, opset, expected } of rows) {
  test(title, () => {
    const { output, value, activation, axis, notes } = findLogits(model(nodes, ['y'], opset))
    assert.is(output.name, 'y')
    assert.equal([activation, value.name, axis, ...notes], expected)
  })
}

const two: NodeRow[] = [
  ['Relu', ['x'], ['features']],
  ['Softmax', ['x'], ['scores']],
]

test('one of several outputs is named', () => {
  const { output, activation } = findLogits(model(two, ['features', 'scores']), 'scores')
  assert.equal([output.name, activation], ['scores', 'softmax'])
})

test('several outputs and no name, or a wrong one', async () => {
  const several = await errorOf(() => findLogits(model(two, ['features', 'scores'])))
  assert.is(
    several.message,
    'model: expected one output to attach the loss to, found 2: "features", "scores"',
  )
  assert.is(several.cure, 'name the output that holds the predictions with --output')
  assert.is(several.exitCode, 2)
  const wrong = await errorOf(() => findLogits(model(two, ['features', 'scores']), 'logits'))
  assert.is(wrong.message, 'model: no output is called "logits", found "features", "scores"')
})

test.run()
