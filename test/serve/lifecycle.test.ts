/** Versions come and go while requests are answered. */

import { copyFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { parseRouting } from '../../src/serve/repository/routing.ts'
import { centeredModel, identityModel, publish, scaleModel } from './support/small-models.ts'
import { ask, closeAll, serve, temporaryFolder, until } from './support/running.ts'

const folder = temporaryFolder()
test.after(async () => {
  await closeAll()
  folder.remove()
})

const ROW = [[1, 2, 3]]
const times = (factor: number) => ROW[0]!.map(value => value * factor)

test('a new version takes over, and no request fails meanwhile', async () => {
  const root = folder.path('takeover')
  publish(`${root}/m/1/model.onnx`, await scaleModel(2))
  const running = await serve([{ path: root, name: null }])
  const seen = new Set<number>()
  let stop = false
  const client = async () => {
    while (!stop) {
      const answer = await ask(running, 'm', ROW)
      assert.ok(
        [2, 3, 5].some(factor => String(answer) === String(times(factor))),
        String(answer),
      )
      seen.add(answer[0]!)
    }
  }
  const clients = [client(), client(), client()]
  publish(`${root}/m/2/model.onnx`, await scaleModel(3))
  await until('version 2 answers', () => seen.has(3))
  publish(`${root}/m/7/model.onnx`, await scaleModel(5))
  await until('version 7 answers', () => seen.has(5))
  stop = true
  await Promise.all(clients)
  assert.equal([...seen], [2, 3, 5])
  await until('only version 7 is ready', () => {
    const ready = running.server.repository.index(true)
    return ready.length === 1 && ready[0]!.version === '7'
  })
  const error = await ask(running, 'm', ROW, { version: '2' }).catch(String)
  assert.match(String(error), /"m" version 2 is not found/)
  // What is gone from the disk is forgotten, in the index and in the metrics.
  for (const version of ['1', '2']) rmSync(`${root}/m/${version}`, { recursive: true })
  await until('the index has version 7 alone', () => running.server.repository.index(false).length === 1)
  const metrics = await running.server.metrics.registry.metrics()
  assert.not.match(metrics, /model="m",version="[12]"/)
  assert.match(metrics, /model="m",version="7"/)
  await running.close()
})

test('what cannot be loaded, does not run as before or gives no numbers changes nothing', async () => {
  const root = folder.path('refused')
  publish(`${root}/m/1/model.onnx`, await scaleModel(2))
  const running = await serve([{ path: root, name: null }])
  const { repository } = running.server
  const bad: readonly (readonly [string, Uint8Array, RegExp])[] = [
    ['2', new TextEncoder().encode('no model'), /./],
    ['3', (await scaleModel(4)).subarray(0, 60), /./],
    ['4', await scaleModel(NaN), /not finite numbers; those of version 1 are/],
  ]
  for (const [version, bytes, reason] of bad) {
    publish(`${root}/m/${version}/model.onnx`, bytes)
    await until(`version ${version} was refused`, () =>
      repository.index(false).some(entry => entry.version === version && entry.state === 'UNAVAILABLE'),
    )
    const entry = repository.index(false).find(entry => entry.version === version)!
    assert.match(entry.reason!, reason)
    assert.not.match(entry.reason!, /\//, 'no path')
    assert.equal(await ask(running, 'm', ROW), times(2))
  }
  const failures = running.log.filter(({ msg }) => msg === 'could not be loaded')
  assert.is(failures.length, bad.length, 'each is tried once, not at every look')
  await running.close()
})

test('a file that is replaced stays version 1, and its counters go on', async () => {
  const path = folder.path('single', 'm.onnx')
  publish(path, await scaleModel(2))
  const running = await serve([{ path, name: null }])
  assert.equal(await ask(running, 'm', ROW), times(2))
  publish(path, await scaleModel(3))
  await until('the new file answers', async () => String(await ask(running, 'm', ROW)) === String(times(3)))
  const [statistics] = await running.client.statistics('m')
  assert.is(statistics!.version, '1')
  assert.ok(statistics!.inference_stats.success.count >= 2)
  // A file that is gone: the last one goes on answering.
  rmSync(path)
  await new Promise(resolve => setTimeout(resolve, 200))
  assert.equal(await ask(running, 'm', ROW), times(3))
  await running.close()
})

test('a model waits for the files that its manifest says', async () => {
  const root = folder.path('manifest')
  publish(`${root}/m/1/model.onnx`, await scaleModel(2))
  const running = await serve([{ path: root, name: null }])
  const bytes = await scaleModel(3)
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const files = [{ name: 'model.onnx', bytes: bytes.byteLength, sha256 }]
  mkdirSync(`${root}/m/2`, { recursive: true })
  writeFileSync(`${root}/m/2/model.manifest.json`, JSON.stringify({ output: { files } }))
  // A sound model, but not that of the manifest.
  writeFileSync(`${root}/m/2/model.onnx`, await scaleModel(4))
  await until('it is refused', () =>
    running.server.repository.index(false).some(({ reason }) => /another checksum|bytes/.test(reason ?? '')),
  )
  assert.equal(await ask(running, 'm', ROW), times(2))
  publish(`${root}/m/2/model.onnx`, bytes)
  await until('it answers', async () => String(await ask(running, 'm', ROW)) === String(times(3)))
  await running.close()
})

test('a canary gets its share, a shadow its comparison', async () => {
  const root = folder.path('canary')
  publish(`${root}/m/1/model.onnx`, await scaleModel(2))
  publish(`${root}/m/2/model.onnx`, await scaleModel(2.5))
  publish(`${root}/m/3/model.onnx`, await scaleModel(-2))
  const running = await serve([{ path: root, name: null }], {
    routing: parseRouting(['m:2=30'], ['m:3']),
  })
  const answers: number[] = []
  const registry = running.server.metrics.registry
  const compared = async () => {
    const text = await registry.getSingleMetricAsString('swa_onnx_shadow_requests_total')
    const counts = [...text.matchAll(/result="(?:other_class|compared)"\} (\d+)/g)]
    return counts.reduce((sum, [, count]) => sum + Number(count), 0)
  }
  for (let i = 0; i < 100; i++) {
    answers.push((await ask(running, 'm', ROW))[0]!)
    // A shadow that lags behind is left out.
    await until('it was compared', async () => (await compared()) === i + 1)
  }
  assert.is(answers.filter(value => value === 2.5).length, 30)
  assert.is(answers.filter(value => value === 2).length, 70)
  const text = await registry.getSingleMetricAsString('swa_onnx_shadow_difference')
  // |2x - (-2x)| / |2x| = 2 for the 70 answers of version 1; |2.5x + 2x| / |2.5x| = 1.8 for those of version 2.
  assert.match(text, /le="1",model="m",version="1",shadow="3",output="y"\} 0/)
  assert.match(text, /sum\{model="m",version="1",shadow="3",output="y"\} 140/)
  assert.match(text, /count\{model="m",version="2",shadow="3",output="y"\} 30/)
  assert.match(
    await registry.getSingleMetricAsString('swa_onnx_shadow_requests_total'),
    /result="other_class"\} 70/,
  )
  // Named versions are not rerouted.
  assert.equal(await ask(running, 'm', ROW, { version: '3' }), times(-2))
  await running.close()
})

test('clients load and unload only with the admin token', async () => {
  const root = folder.path('control')
  publish(`${root}/m/1/model.onnx`, await scaleModel(2))
  const running = await serve([{ path: root, name: null }], { adminToken: 'let-me-in', pollMs: 0 })
  publish(`${root}/m/2/model.onnx`, await scaleModel(3))
  const stranger = await fetch(`${running.url}/v2/repository/models/m/load`, { method: 'POST' })
  assert.is(stranger.status, 401)
  assert.equal(await ask(running, 'm', ROW), times(2))
  // The first look without polling only sees the file; the request does not wait for another.
  await running.client.load('m')
  assert.equal(await ask(running, 'm', ROW), times(3))
  await running.client.unload('m')
  const gone = await ask(running, 'm', ROW).catch((error: unknown) => error)
  assert.match(String(gone), /no version in service/)
  await until('both are out of service', async () =>
    (await running.client.index()).every(({ state }) => state === 'UNAVAILABLE'),
  )
  assert.ok(await running.client.ready(), 'what was unloaded on purpose does not make the server unready')
  await running.client.load('m')
  assert.equal(await ask(running, 'm', ROW), times(3))
  assert.match(String(await running.client.load('other').catch(String)), /no such model/)
  await running.close()
})

test('a session that ends is opened again, and its requests are answered', async () => {
  const path = folder.path('crash', 'm.onnx')
  publish(path, await scaleModel(2))
  const running = await serve([{ path, name: null }])
  const version = running.server.repository.model('m').pick(null)
  for (let round = 0; round < 3; round++) {
    const answers = Array.from({ length: 20 }, () => ask(running, 'm', ROW))
    const crash = version.instances[0]!.crash()
    const late = Array.from({ length: 20 }, () => ask(running, 'm', ROW))
    for (const answer of await Promise.all([...answers, ...late])) assert.equal(answer, times(2))
    await crash
  }
  assert.match(
    await running.server.metrics.registry.getSingleMetricAsString('swa_onnx_session_crashes_total'),
    /version="1"\} 3/,
  )
  await running.close()
})

test('only samples that do not change each other share runs', async () => {
  const root = folder.path('batching')
  publish(`${root}/free.onnx`, await scaleModel(2))
  publish(`${root}/bound.onnx`, await centeredModel())
  publish(`${root}/fixed.onnx`, await identityModel('float32', { dims: [1, 3] }))
  const running = await serve([{ path: root, name: null }])
  const facts = (name: string) => running.server.repository.model(name).pick(null).facts
  assert.ok(facts('free').batched)
  assert.not(facts('bound').batched)
  assert.match(facts('bound').probe.note!, /samples change each other/)
  assert.not(facts('fixed').batched)
  assert.match(facts('fixed').probe.note!, /first dimension of x is not open/)
  const rows = Array.from({ length: 24 }, (_, i) => [i, 2 * i, 1])
  const answers = await Promise.all(rows.map(row => ask(running, 'bound', [row])))
  for (const answer of answers) assert.equal(answer, [0, 0, 0])
  await running.close()
})

test('the average of a run is served, and the next one when it is there', async () => {
  const run = folder.path('runs', 'digits')
  mkdirSync(run, { recursive: true })
  const running = await serve([], { runs: [{ path: run, name: null }] })
  assert.not(await running.client.ready(), 'there is no snapshot yet')
  const snapshot = (steps: number[], factor: number) =>
    scaleModel(factor, { metadata: { 'swa_onnx.snapshots': JSON.stringify(steps) } })
  publish(`${run}/current.onnx`, await snapshot([100], 2))
  await until('the first average answers', () => running.client.ready())
  assert.equal(await ask(running, 'digits', ROW, { version: '100' }), times(2))
  publish(`${run}/current.onnx`, await snapshot([100, 200], 3))
  await until(
    'the second answers',
    async () => String(await ask(running, 'digits', ROW)) === String(times(3)),
  )
  // The end of the run.
  publish(`${run}/averaged.onnx`, await snapshot([100, 200, 300], 4))
  rmSync(`${run}/current.onnx`)
  await until('the last answers', async () => String(await ask(running, 'digits', ROW)) === String(times(4)))
  assert.equal((await running.client.modelMetadata('digits')).versions, ['300'])
  await running.close()
})

test("a repository of Triton's, with its config.pbtxt", async () => {
  const root = folder.path('triton')
  publish(`${root}/m/1/model.onnx`, await scaleModel(2))
  publish(`${root}/m/2/model.onnx`, await scaleModel(3))
  const config = `
    name: "m"   # a comment
    platform: "onnxruntime_onnx"
    max_batch_size: 16
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
    output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "classes.txt" } ]
    version_policy: { all { } }
    dynamic_batching { preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 2500
      default_queue_policy { max_queue_size: 7 default_timeout_microseconds: 4000000 } }
    instance_group [ { count: 2 kind: KIND_CPU } ]
    parameters { key: "x" value: { string_value: "y" } }
  `
  writeFileSync(`${root}/m/config.pbtxt`, config)
  writeFileSync(`${root}/m/classes.txt`, 'zero\none\ntwo\n')
  for (const [name, text] of [
    ['tensorrt', 'backend: "tensorrt"'],
    ['ensemble', 'ensemble_scheduling { step [ { model_name: "m" } ] }'],
    ['stranger', 'input [ { name: "z" } ]'],
    ['broken', 'max_batch_size: ['],
  ] as const) {
    publish(`${root}/${name}/1/model.onnx`, await scaleModel(2))
    writeFileSync(`${root}/${name}/config.pbtxt`, text)
  }
  const running = await serve([{ path: root, name: null }], {
    settings: { instances: null, maxBatch: null },
  })
  const version = running.server.repository.model('m').pick('2')
  assert.equal(
    running.server.repository.index(true).map(({ name, version }) => `${name}:${version!}`),
    ['m:1', 'm:2'],
  )
  const { maxBatch, maxDelay, maxQueue, timeout, instances } = version.facts.settings
  assert.equal(
    { maxBatch, maxDelay, maxQueue, timeout, instances },
    { maxBatch: 8, maxDelay: 2.5, maxQueue: 7, timeout: 4000, instances: 2 },
  )
  const top = await running.client.infer(
    'm',
    { x: { datatype: 'FP32', shape: [1, 3], data: Float32Array.of(1, 3, 2) } },
    { outputs: { y: 2 } },
  )
  assert.equal(top.outputs['y']!.data, ['9.000000:1:one', '6.000000:2:two'])
  const reasons = Object.fromEntries(
    running.server.repository
      .index(false)
      .filter(({ state }) => state === 'UNAVAILABLE')
      .map(({ name, reason }) => [name, reason!]),
  )
  assert.match(reasons['tensorrt']!, /backend "tensorrt" is not served, expected onnxruntime/)
  assert.match(reasons['ensemble']!, /ensemble_scheduling is not served/)
  assert.match(reasons['stranger']!, /has the input "z", the model has "x"/)
  assert.match(reasons['broken']!, /config\.pbtxt/)
  await running.close()
})

test('two models of one name are refused', async () => {
  const root = folder.path('twice')
  publish(`${root}/a/m.onnx`, await scaleModel(2))
  mkdirSync(`${root}/b`, { recursive: true })
  copyFileSync(`${root}/a/m.onnx`, `${root}/b/m.onnx`)
  const places = ['a', 'b'].map(name => ({ path: `${root}/${name}/m.onnx`, name: null }))
  const refused = await serve(places).then(() => 'it was served', String)
  assert.match(refused, /two models have the name m/)
})

test.run()
