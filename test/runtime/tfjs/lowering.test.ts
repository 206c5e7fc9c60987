/** Which composites each tfjs backend computes itself. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  averagePoolGrad,
  convInputGrad,
  convWeightGrad,
  isComposite,
  maxPoolGrad,
} from '../../../src/autodiff/composites.ts'
import { Builder } from '../../../src/ir/builder.ts'
import { Graph } from '../../../src/ir/graph.ts'
import { Value } from '../../../src/ir/value.ts'
import type { Window } from '../../../src/ops/window.ts'
import { lowerForTfjs } from '../../../src/runtime/tfjs/engine.ts'
import { backendOf, type Backend } from '../../../src/runtime/tfjs/tf.ts'
import { tf } from '../../support/tfjs.ts'

const { kernels } = await backendOf(tf)
const backend = (name: string, without: readonly string[] = []): Backend => ({
  ...{ name, version: '' },
  kernels: new Set([...kernels].filter(kernel => !without.includes(kernel))),
})

/** 3x3 windows over 8x8. */
const windowOf = (dilation: number): Window =>
  [0, 1].map(() => ({ input: 8, output: 8, kernel: 3, stride: 1, dilation, begin: dilation, end: dilation }))

/** The composites that are left of the four, over [2, 4, 8, 8]. */
function kept(target: Backend, { dilation = 1, group = 1 } = {}): string[] {
  const op = new Builder(['x', 'dy', 'w'])
  const [x, dy] = ['x', 'dy'].map(name => Value.typed(name, 'float32', [2, 4, 8, 8])) as [Value, Value]
  const w = Value.typed('w', 'float32', [4, 4 / group, 3, 3])
  const window = windowOf(dilation)
  const graph = new Graph('test')
  graph.inputs = [x, dy, w]
  graph.outputs = [
    convInputGrad(op, dy, w, x.shape, window, group),
    convWeightGrad(op, x, dy, window, group),
    maxPoolGrad(op, dy, x, dy, window),
    averagePoolGrad(op, dy, x.shape, window, false),
  ]
  graph.nodes = op.nodes
  graph.initializers = op.initializers
  const lowered = lowerForTfjs({ graph, opset: 18, state: [], inputs: [], metrics: [] }, target)
  return lowered.graph.nodes.filter(isComposite).map(node => node.opType)
}

test('kernels compute the gradients of plain windows', () => {
  const all = ['ConvInputGrad', 'ConvWeightGrad', 'MaxPoolGrad', 'AveragePoolGrad']
  assert.equal(kept(backend('cpu')), all)
  assert.equal(kept(backend('tensorflow')), all)
  assert.equal(kept(backend('cpu'), { group: 4 }), all)
})

test('where MaxPoolGrad gives ties to the last maximum it is a comparison, whose input gradient is a kernel', () => {
  for (const name of ['webgl', 'webgpu']) {
    assert.equal(kept(backend(name)), ['ConvInputGrad', 'ConvWeightGrad', 'ConvInputGrad', 'AveragePoolGrad'])
  }
})

test('dilated weight gradients, and what a backend lacks, are standard operators', () => {
  assert.equal(kept(backend('cpu'), { dilation: 2 }), ['ConvInputGrad', 'ConvInputGrad'])
  assert.equal(kept(backend('wasm', ['Conv2DBackpropFilter', 'AvgPoolGrad'])), [
    'ConvInputGrad',
    'ConvInputGrad',
  ])
})

test.run()
