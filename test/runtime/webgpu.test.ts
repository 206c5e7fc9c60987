/**
 * The WebGPU engine on SwiftShader: ten training steps against PyTorch's losses and the CPU engine's parameters, and what
 * becomes of the state on the device. Operators are in parity/webgpu.test.ts.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Builder } from '../../src/ir/builder.ts'
import { Graph } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { webgpuEngine } from '../../src/runtime/ort-webgpu/engine.ts'
import type { Program, StatePart } from '../../src/runtime/program.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { relativeError } from '../support/close.ts'
import { tenSteps } from '../support/parity.ts'
import { MODELS, openTraining, row } from '../support/training.ts'
import { withSwiftshader } from '../support/webgpu.ts'

const float = (...values: number[]) => Tensor.of('float32', [values.length], values)

/**
 * w' = w + k·x, a part `still` that no step changes under two names, and one that is output and input at once;
 * loss = sum of x.
 */
function smallProgram(): Program {
  const op = new Builder(['w', 'still', 'same', 'x', 'k'])
  const graph = new Graph('small')
  const [w, still, same, x] = ['w', 'still', 'same', 'x'].map(name => Value.typed(name, 'float32', [2])) as [
    Value,
    Value,
    Value,
    Value,
  ]
  const k = Value.typed('k', 'float32', [])
  const next = op.Add(w, op.Mul(x, k))
  const copied = op.Identity(still)
  const loss = op.ReduceSum(x, [0], false)
  const named = { next, copied, loss }
  for (const [name, value] of Object.entries(named)) value.name = name
  graph.inputs = [w, still, same, x, k]
  graph.outputs = [next, copied, same, loss]
  graph.nodes = op.nodes
  graph.initializers = op.initializers
  const part = (input: string, output: string, offset: number): StatePart => ({
    input,
    output,
    offset,
    shape: [2],
  })
  return {
    graph,
    opset: 18,
    state: [
      { name: 'theta', length: 4, parts: [part('w', 'next', 0), part('still', 'copied', 2)] },
      { name: 'rest', length: 2, parts: [part('same', 'same', 0)] },
    ],
    inputs: [
      { name: 'x', dtype: 'float32', shape: [2] },
      { name: 'k', dtype: 'float32', shape: [] },
    ],
    metrics: ['loss'],
  }
}

const batch = (k: number) =>
  new Map([
    ['x', float(1, 10)],
    ['k', Tensor.scalar('float32', k)],
  ])

await withSwiftshader(test, () => {
  test('ten steps of bn_cnn: PyTorch losses, the CPU engine’s parameters', async () => {
    const name = 'bn_cnn-ts'
    const expected = await tenSteps(name, cpuEngine())
    const found = await tenSteps(name, webgpuEngine())
    const { losses64 } = JSON.parse(readFileSync(join(MODELS, name, 'reference.json'), 'utf8')) as {
      losses64: number[]
    }
    losses64.forEach((loss, i) => {
      const error = Math.abs(found.losses[i]! - loss) / loss
      assert.ok(error <= 1e-4, `loss ${i} is off by ${error}`)
    })
    for (const [vector, tensor] of expected.state) {
      const error = relativeError(found.state.get(vector)!.toNumbers(), tensor.toNumbers())
      assert.ok(error <= 1e-4, `${vector} is off by ${error}`)
    }
  })

  test('no node of a model of images runs on the CPU but the cast of its labels', async () => {
    const run = await openTraining('bn_cnn-dynamo-raw', 'train', undefined, webgpuEngine())
    try {
      const { tensors } = run
      await run.step(row(tensors.get('steps/input')!, 0), row(tensors.get('steps/target')!, 0), [0.01])
      assert.equal(run.trainer.notes, [])
    } finally {
      await run.trainer.close()
    }
  })

  test('nodes that WebGPU has not are told', async () => {
    const op = new Builder(['w', 'x'])
    const graph = new Graph('stray')
    graph.inputs = ['w', 'x'].map(name => Value.typed(name, 'float32', [2]))
    const [w, x] = graph.inputs as [Value, Value]
    const next = op.Add(w, op.one('Hardmax', [x], { shape: [2] }))
    const loss = op.ReduceSum(next, [0], false)
    graph.outputs = [next, loss]
    graph.nodes = op.nodes
    graph.initializers = op.initializers
    const parts = [{ input: 'w', output: next.name, offset: 0, shape: [2] }]
    const trainer = await webgpuEngine().openTrainer({
      graph,
      opset: 18,
      state: [{ name: 'theta', length: 2, parts }],
      inputs: [{ name: 'x', dtype: 'float32', shape: [2] }],
      metrics: [loss.name],
    })
    try {
      await trainer.writeState(new Map([['theta', float(3, 4)]]))
      const [metrics] = await trainer.steps([new Map([['x', float(5, 6)]])])
      assert.is(metrics!.get(loss.name), 8)
      assert.equal(trainer.notes, [
        'Hardmax ran on CPUExecutionProvider, not on WebGpuExecutionProvider, with copies to and fro at each step: "Hardmax_0"',
      ])
    } finally {
      await trainer.close()
    }
  })

  test('state is written, carried, read and counted', async () => {
    const trainer = await webgpuEngine().openTrainer(smallProgram())
    try {
      await trainer.writeState(
        new Map([
          ['theta', float(1, 2, 3, 4)],
          ['rest', float(5, 6)],
        ]),
      )
      const read = async () => {
        const state = await trainer.readState()
        return ['theta', 'rest'].map(name => state.get(name)!.toNumbers())
      }
      assert.equal(await read(), [
        [1, 2, 3, 4],
        [5, 6],
      ])
      const metrics = await trainer.steps([batch(1), batch(2), batch(-0.5)])
      assert.equal(
        metrics.map(step => step.get('loss')),
        [11, 11, 11],
      )
      const carried = [
        [3.5, 27, 3, 4],
        [5, 6],
      ]
      assert.equal(await read(), carried)
      assert.equal(await read(), carried, 'reading leaves the state as it is')

      await trainer.writeState(new Map([['rest', float(7, 8)]]))
      await trainer.steps([batch(1)])
      // Written: 4 + 2 and 2 values; read: three times 6. A step takes x and k and gives the loss.
      const bytes = { batchBytes: 4 * 4 * 4, stateBytes: 4 * (8 + 3 * 6) }
      assert.equal(trainer.traffic, { steps: 4, runs: 4, ...bytes })
      assert.equal(await read(), [
        [4.5, 37, 3, 4],
        [7, 8],
      ])
    } finally {
      await trainer.close()
    }
  })

  test('a step that fails leaves the state as it was', async () => {
    const trainer = await webgpuEngine().openTrainer(smallProgram())
    try {
      await trainer.writeState(
        new Map([
          ['theta', float(1, 2, 3, 4)],
          ['rest', float(5, 6)],
        ]),
      )
      await trainer.steps([batch(1)])
      const wrong = new Map([...batch(1), ['x', float(1, 2, 3)]] as const)
      let message = ''
      await trainer.steps([wrong]).catch((error: unknown) => (message = String(error)))
      assert.match(message, 'onnxruntime')
      await trainer.steps([batch(1)])
      assert.equal((await trainer.readState()).get('theta')!.toNumbers(), [3, 22, 3, 4])
    } finally {
      await trainer.close()
    }
  })

  test('sessions that are asked at the same time take turns', async () => {
    const model = new Uint8Array(readFileSync(join(MODELS, 'mlp-dynamo/model.onnx')))
    const x = () =>
      new Map([
        [
          'input',
          Tensor.of(
            'float32',
            [2, 4, 12],
            Array.from({ length: 96 }, (_, i) => Math.sin(i)),
          ),
        ],
      ])
    const outputs = async (engine = webgpuEngine(), times = 12) => {
      const runner = await engine.openRunner(model)
      const found: number[][] = []
      for (let i = 0; i < times; i++) {
        const [y] = (await runner.run(x())).values()
        found.push(y!.toNumbers())
      }
      await runner.close()
      return found
    }
    const stepping = async () => {
      const trainer = await webgpuEngine().openTrainer(smallProgram())
      await trainer.writeState(
        new Map([
          ['theta', float(0, 0, 0, 0)],
          ['rest', float(0, 0)],
        ]),
      )
      for (let i = 0; i < 30; i++) await trainer.steps([batch(1)])
      const theta = (await trainer.readState()).get('theta')!.toNumbers()
      await trainer.close()
      return theta
    }
    const [expected] = await outputs(cpuEngine(), 1)
    const [first, second, theta] = await Promise.all([outputs(), outputs(), stepping()])
    assert.equal(theta, [30, 300, 0, 0])
    for (const found of [...first, ...second]) assert.ok(relativeError(found, expected!) <= 1e-5)
  })
})

test.run()
