/** Session threads: the process stays responsive, nothing is sent anywhere, failures are one clear error. */

import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Builder } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { serializeModel } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { errorOf } from '../support/errors.ts'

/** y = x · x · ... · x, square matrices. */
async function powers(size: number, count: number): Promise<Uint8Array> {
  const op = new Builder()
  const graph = new Graph('powers')
  const x = Value.typed('x', 'float32', [size, size])
  graph.inputs = [x]
  let y = x
  for (let i = 0; i < count; i++) y = op.MatMul(y, x)
  graph.outputs = [y]
  graph.nodes = op.nodes
  return serializeModel(new Model(graph, 8, new Map([['', 18]])))
}

test('results are right and keep their names', async () => {
  const runner = await cpuEngine().openRunner(await powers(2, 1))
  try {
    assert.equal(runner.inputs, [{ name: 'x', dtype: 'float32', shape: [2, 2] }])
    const result = await runner.run(new Map([['x', Tensor.of('float32', [2, 2], [1, 2, 3, 4])]]))
    assert.equal([...result.values()][0]!.toNumbers(), [7, 10, 15, 22])
  } finally {
    await runner.close()
  }
})

test('timers go on while a long run is under way', async () => {
  const runner = await cpuEngine().openRunner(await powers(700, 20), { threads: 1 })
  let ticks = 0
  const timer = setInterval(() => ticks++, 2)
  try {
    const identity = Float32Array.from({ length: 700 * 700 }, (_, i) => (i % 701 === 0 ? 1 : 0))
    await runner.run(new Map([['x', Tensor.of('float32', [700, 700], identity)]]))
    assert.ok(ticks >= 5, `${ticks} ticks of 2 ms`)
  } finally {
    clearInterval(timer)
    await runner.close()
  }
})

test('an error of the engine reaches the caller and the session lives on', async () => {
  const runner = await cpuEngine().openRunner(await powers(2, 1))
  try {
    const error = await errorOf(
      runner.run(new Map([['x', Tensor.of('float32', [3, 3], new Float32Array(9))]])),
    )
    assert.is(error.exitCode, 3)
    assert.ok(error.message.startsWith('onnxruntime: '), error.message)
    const result = await runner.run(new Map([['x', Tensor.of('float32', [2, 2], [1, 0, 0, 1])]]))
    assert.equal([...result.values()][0]!.toNumbers(), [1, 0, 0, 1])
  } finally {
    await runner.close()
  }
})

test('bytes that are no model are refused', async () => {
  const error = await errorOf(cpuEngine().openRunner(new Uint8Array([1, 2, 3])))
  assert.ok(error.message.startsWith('onnxruntime: '), error.message)
})

test('a closed session refuses further work', async () => {
  const runner = await cpuEngine().openRunner(await powers(2, 1))
  await runner.close()
  const error = await errorOf(runner.run(new Map()))
  assert.is(error.message, 'the session was closed')
  await runner.close()
})

test('a state that was handed over before is an error, not a wait without end', async () => {
  const op = new Builder()
  const graph = new Graph('kept')
  const a = Value.typed('a', 'float32', [2])
  graph.inputs = [a]
  graph.outputs = [op.Identity(a)]
  graph.nodes = op.nodes
  const part = { input: 'a', output: graph.outputs[0]!.name, offset: 0, shape: [2] }
  const trainer = await cpuEngine().openTrainer({
    ...{ graph, opset: 18, inputs: [], metrics: [] },
    state: [{ name: 'theta', length: 2, parts: [part] }],
  })
  try {
    const state = new Map([['theta', Tensor.of('float32', [2], [1, 2])]])
    await trainer.writeState(state)
    const error = await errorOf(trainer.writeState(state))
    assert.ok(error.message.startsWith('the session thread failed: '), error.message)
  } finally {
    await trainer.close()
  }
})

test('no telemetry: a session leaves nothing in the home folder', () => {
  const home = mkdtempSync(join(tmpdir(), 'swa-home-'))
  try {
    const model = join(import.meta.dirname, '../../fixtures/demo/digits_cnn.onnx')
    const script = `
      import { cpuEngine } from ${JSON.stringify(join(import.meta.dirname, '../../src/runtime/ort-cpu/engine.ts'))}
      const runner = await cpuEngine().openRunner(${JSON.stringify(model)})
      await runner.close()`
    const env = {
      ...process.env,
      HOME: home,
      XDG_CACHE_HOME: join(home, '.cache'),
      CI: '',
      ORT_DISABLE_TELEMETRY: '',
    }
    delete (env as Record<string, unknown>)['ORT_DISABLE_TELEMETRY']
    delete (env as Record<string, unknown>)['CI']
    const { status, stderr } = spawnSync(
      process.execPath,
      ['--import', 'tsx', '--input-type=module', '-e', script],
      {
        cwd: join(import.meta.dirname, '../..'),
        env,
        encoding: 'utf8',
      },
    )
    assert.is(status, 0, stderr)
    assert.not.ok(existsSync(join(home, '.cache', 'Microsoft')), 'the telemetry folder exists')
    assert.equal(
      readdirSync(home).filter(name => name !== '.cache' && name !== '.npm'),
      [],
    )
  } finally {
    rmSync(home, { recursive: true, force: true })
  }
})

test.run()
