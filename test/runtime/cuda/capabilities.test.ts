/** What CUDA has kernels for, what of a program has none, and where its nodes ran. */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { RULES } from '../../../src/autodiff/index.ts'
import { Builder } from '../../../src/ir/builder.ts'
import { Graph } from '../../../src/ir/graph.ts'
import { Value } from '../../../src/ir/value.ts'
import {
  CUDA_CAPABILITIES,
  nodesWithoutKernel,
  WITHOUT_KERNEL,
} from '../../../src/runtime/ort-cuda/capabilities.ts'
import { CUDA_FORMS } from '../../../src/runtime/ort-cuda/forms/index.ts'
import { hostNodes } from '../../../src/runtime/ort-cuda/host-nodes.ts'
import { placementNotes } from '../../../src/runtime/ort/placement-notes.ts'
import { CPU_CAPABILITIES } from '../../../src/runtime/ort-cpu/capabilities.ts'
import { cpuLoopEngine } from '../../support/cpu-loop.ts'
import { openTraining, row } from '../../support/training.ts'

test('48 operators have a CPU kernel and no CUDA kernel', () => {
  assert.is(WITHOUT_KERNEL.size, 48)
  for (const name of WITHOUT_KERNEL) {
    assert.ok(CPU_CAPABILITIES.operators.has(name), name)
    assert.not(CUDA_CAPABILITIES.operators.has(name), name)
  }
})

test('every operator that can be trained has a kernel or a form', () => {
  const open = Object.keys(RULES).filter(
    name => !name.includes('.') && !CUDA_CAPABILITIES.operators.has(name) && !CUDA_FORMS[name],
  )
  assert.equal(open, [])
})

test('what has no kernel is named with the reason', () => {
  const op = new Builder(['x', 'w', 'i', 'b'])
  const graph = new Graph('g')
  const x = Value.typed('x', 'float32', [1, 1, 4])
  const w = Value.typed('w', 'float32', [1, 1, 3])
  const i = Value.typed('i', 'int32', [4])
  const b = Value.typed('b', 'bfloat16', [4])
  graph.inputs = [x, w, i, b]
  op.within('net', () => {
    op.Relu(x)
    op.one('Det', [x], { shape: [1] })
    op.one('FusedThing', [x], { shape: [1] }, {}, 'com.example')
    op.one('ConvTranspose', [x, w], { shape: [1, 1, 5] }, { pads: [0, 1] })
    op.one('ConvTranspose', [x, w], { shape: [1, 1, 4] }, { pads: [1, 1] })
    op.one('ArgMax', [x], { shape: [1, 1, 4], dtype: 'int64' }, { select_last_index: 1 })
    op.ScatterElements(i, op.int64s([0]), i, 0, 'add')
    op.ScatterElements(i, op.int64s([0]), i, 0, 'none')
    op.Relu(b)
  })
  graph.nodes = op.nodes
  assert.equal(
    nodesWithoutKernel(graph).map(({ node, reason }) => `${node.label}: ${reason}`),
    [
      'Det "net/Det_1": the provider has no kernel for the operator',
      'com.example.FusedThing "net/FusedThing_2": the provider has no kernel for the operator',
      'ConvTranspose "net/ConvTranspose_3": its pads are not symmetric',
      'ArgMax "net/ArgMax_5": the provider knows only the first of equal elements',
      'ScatterElements "net/ScatterElements_6": it would reduce int32 elements as if they were floating-point',
      'Relu "net/Relu_8": the provider does not compute with %"b"<bfloat16,[4]>',
    ],
  )
})

test('a node elsewhere than expected is named; copies and shape arithmetic are not', () => {
  const op = new Builder(['x'])
  const graph = new Graph('g')
  const x = Value.typed('x', 'float32', [2, 3])
  op.one('Shape', [x], { shape: [2], dtype: 'int64' })
  op.Add(op.int64s([1, 2]), op.int64s([3, 4]))
  op.one('Det', [x], { shape: [] })
  graph.nodes = op.nodes
  const on = (provider: string, opType: string, name: string) => ({ provider, opType, name })
  const placed = [
    on('CUDAExecutionProvider', 'Conv', 'Conv_7'),
    on('CPUExecutionProvider', 'MemcpyToHost', 'Memcpy_1'),
    on('CPUExecutionProvider', 'Shape', 'Shape_0'),
    on('CPUExecutionProvider', 'Add', 'Add_1'),
    on('CPUExecutionProvider', 'Det', 'Det_2'),
    on('CPUExecutionProvider', 'Det', 'Det_9'),
    on('CPUExecutionProvider', 'Gemm', 'fused'),
  ]
  assert.equal(placementNotes(placed, 'CUDAExecutionProvider', hostNodes(graph)), [
    'Det ran on CPUExecutionProvider, not on CUDAExecutionProvider, with copies to and fro at each step: "Det_2", "Det_9"',
    'Gemm ran on CPUExecutionProvider, not on CUDAExecutionProvider, with copies to and fro at each step: "fused"',
  ])
})

/** One step of a model, whose nodes are expected on a provider. */
async function notesOf(provider: string, profile?: string): Promise<readonly string[]> {
  const engine = cpuLoopEngine({ provider })
  const open = profile === undefined ? engine : { ...engine, openTrainer: withProfile(engine, profile) }
  const run = await openTraining('mlp-ts', 'train', undefined, open)
  const { tensors, reference } = run
  try {
    assert.equal(run.trainer.notes, [], 'nothing is known before the first step')
    const [input, target] = [tensors.get('steps/input')!, tensors.get('steps/target')!]
    await run.step(row(input, 0), row(target, 0), [reference.hyperparameters.lr])
    return run.trainer.notes
  } finally {
    await run.trainer.close()
  }
}

function withProfile(engine: ReturnType<typeof cpuLoopEngine>, profile: string) {
  return ((program, options) =>
    engine.openTrainer(program, { ...options, profile })) as typeof engine.openTrainer
}

test('after the first chunk, notes say where nodes really ran', async () => {
  assert.equal(await notesOf('CPUExecutionProvider'), [])
  const notes = await notesOf('CUDAExecutionProvider')
  for (const opType of ['Loop', 'Gather', 'Gemm', 'Relu', 'Exp', 'Sub', 'ReduceSum']) {
    assert.ok(
      notes.some(note =>
        note.startsWith(`${opType} ran on CPUExecutionProvider, not on CUDAExecutionProvider`),
      ),
      `${opType}: ${notes.join('\n')}`,
    )
  }
})

test('a profile that the caller asked for is left to the caller', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'swa-profile-'))
  try {
    assert.equal(await notesOf('CUDAExecutionProvider', join(folder, 'mine')), [])
    const [file] = readdirSync(folder)
    assert.match(readFileSync(join(folder, file!), 'utf8'), /CPUExecutionProvider/)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

test.run()
