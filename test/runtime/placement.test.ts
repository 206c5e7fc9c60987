/** Where nodes ran, read from profiles: of a session with a Loop, and of traces written by hand. */

import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Builder } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import { placementOf } from '../../src/runtime/ort/placement.ts'
import { SessionThread } from '../../src/runtime/ort/session.ts'
import { serializeModel } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { toWire } from '../../src/runtime/ort/messages.ts'

test('every node of a session is found on its provider, and the profile is removed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'swa-onnx-placement-'))
  const op = new Builder(['x'])
  const graph = new Graph('g')
  const x = Value.typed('x', 'float32', [2])
  graph.inputs = [x]
  graph.outputs = [op.ReduceSum(op.Exp(x), [0])]
  graph.nodes = op.nodes
  graph.initializers = op.initializers
  const model = await serializeModel(new Model(graph, 8, new Map([['', 18]])))
  const thread = new SessionThread()
  try {
    const prefix = join(folder, 'trace')
    await thread.request('open', { model, options: { profile: prefix }, providers: ['cpu'] })
    const feeds = [['x', toWire(Tensor.of('float32', [2], [1, 2]))] as const]
    for (let i = 0; i < 2; i++) await thread.request('run', { feeds, outputs: null })
    const placed = await thread.request('placement', { prefix })
    assert.equal(
      placed.map(({ opType, provider }) => [opType, provider]),
      [
        ['Exp', 'CPUExecutionProvider'],
        ['ReduceSum', 'CPUExecutionProvider'],
      ],
    )
    assert.equal(
      placed.map(({ name }) => name),
      graph.nodes.map(({ name }) => name),
    )
    assert.equal(readdirSync(folder), [])
  } finally {
    await thread.close()
    rmSync(folder, { recursive: true })
  }
})

test('only kernels of nodes count; a cut trace is named', () => {
  const trace = [
    { cat: 'Session', name: 'model_run', args: {} },
    { cat: 'Node', name: 'a_fence_before', args: { op_name: 'Add' } },
    { cat: 'Node', name: 'a_kernel_time', args: { op_name: 'Add', provider: 'CUDAExecutionProvider' } },
  ]
  assert.equal(placementOf(JSON.stringify(trace), 'x.json'), [
    { name: 'a', opType: 'Add', provider: 'CUDAExecutionProvider' },
  ])
  assert.throws(() => placementOf('[{', 'x.json'), 'profile x.json: expected a whole JSON trace')
})

test.run()
