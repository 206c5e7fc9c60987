/** The device fails or hangs: the server says so, and says when it is over. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import type { Engine } from '../../src/runtime/engine.ts'
import { parseStates } from '../../src/serve/gpu.ts'
import { publish, scaleModel } from './support/small-models.ts'
import { ask, closeAll, serve, temporaryFolder, until } from './support/running.ts'

const folder = temporaryFolder()
test.after(async () => {
  await closeAll()
  folder.remove()
})

/** An engine whose runs fail, or do not end, while it is told so. */
function moodyEngine(): { readonly engine: Engine; mood: 'well' | 'failing' | 'hanging' } {
  const cpu = cpuEngine()
  const moody: { engine: Engine; mood: 'well' | 'failing' | 'hanging' } = {
    mood: 'well',
    engine: {
      ...cpu,
      async openRunner(model, options) {
        const runner = await cpu.openRunner(model, options)
        return {
          ...runner,
          async run(...feeds) {
            if (moody.mood === 'failing') throw new Error('the driver has lost the device')
            while (moody.mood === 'hanging') await new Promise(resolve => setTimeout(resolve, 5))
            return runner.run(...feeds)
          },
        }
      },
    },
  }
  return moody
}

test('readiness and a metric follow the device, without traffic and under a run that hangs', async () => {
  const path = folder.path('m.onnx')
  publish(path, await scaleModel(2))
  const moody = moodyEngine()
  const running = await serve([{ path, name: null }], { engine: moody.engine, healthMs: 20, hangMs: 150 })
  const metric = () => running.server.metrics.registry.getSingleMetricAsString('swa_onnx_device_healthy')
  assert.ok(await running.client.ready())
  assert.match(await metric(), /version="1"\} 1/)
  moody.mood = 'failing'
  await until('it is not ready', async () => !(await running.client.ready()))
  assert.match(await metric(), /version="1"\} 0/)
  assert.ok(await running.client.live())
  moody.mood = 'well'
  await until('it is ready again', () => running.client.ready())
  moody.mood = 'hanging'
  const waiting = ask(running, 'm', [[1, 2, 3]])
  await until('the run that hangs was seen', async () => !(await running.client.ready()))
  moody.mood = 'well'
  assert.equal(await waiting, [2, 4, 6])
  await until('it is ready once more', () => running.client.ready())
  const said = running.log.map(({ msg }) => msg).filter(msg => /device/.test(String(msg)))
  assert.equal(said, [
    'the device does not compute',
    'the device computes again',
    'the device does not compute',
    'the device computes again',
  ])
  // What the server asked itself is not traffic.
  const [statistics] = await running.client.statistics('m')
  assert.is(statistics!.inference_count, 1)
  await running.close()
})

test("what NVIDIA's tool prints", () => {
  assert.equal(parseStates('0, 1024, 81559, 37\n1, 0, 81559, 0\n'), [
    { index: '0', used: 1024 * 2 ** 20, total: 81559 * 2 ** 20, utilization: 0.37 },
    { index: '1', used: 0, total: 81559 * 2 ** 20, utilization: 0 },
  ])
  assert.equal(parseStates('No devices were found\n'), [])
})

test.run()
