/** The server as its clients see it: every datatype both ways, health, statistics, limits, an orderly end. */

import { readFileSync } from 'node:fs'
import { request as httpsRequest } from 'node:https'
import { promisify } from 'node:util'
import { deflateSync, gunzip, gzipSync } from 'node:zlib'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { InferenceClient } from '../../src/serve/client/client.ts'
import type { ClientTensor } from '../../src/serve/client/tensor.ts'
import { DATATYPES, type Datatype } from '../../src/serve/protocol/datatypes.ts'
import { exchange } from './support/exchange.ts'
import { gatherModel, identityModel, publish, scaleModel, slowModel } from './support/small-models.ts'
import { ask, closeAll, numbersOf, rowsOf, serve, temporaryFolder, until } from './support/running.ts'

const folder = temporaryFolder()
test.after(async () => {
  await closeAll()
  folder.remove()
})

const ROW = [[1, 2, 3]]

/** Two samples of three of every datatype, extremes among them. */
const SAMPLES: { readonly [D in Datatype]: ClientTensor<D>['data'] } = {
  BOOL: Uint8Array.of(0, 1, 1, 0, 1, 0),
  UINT8: Uint8Array.of(0, 1, 127, 128, 254, 255),
  UINT16: Uint16Array.of(0, 1, 2, 256, 65534, 65535),
  UINT32: Uint32Array.of(0, 1, 2, 3, 4, 4294967295),
  UINT64: BigUint64Array.of(0n, 1n, 2n, 3n, 9007199254740993n, 2n ** 64n - 1n),
  INT8: Int8Array.of(0, 1, -1, 2, -128, 127),
  INT16: Int16Array.of(0, 1, -1, 2, -32768, 32767),
  INT32: Int32Array.of(0, 1, -1, 2, -2147483648, 2147483647),
  INT64: BigInt64Array.of(0n, 1n, -1n, 9007199254740993n, -(2n ** 63n), 2n ** 63n - 1n),
  // Bits: 0, 1, -2, the smallest, the largest, infinity.
  FP16: Uint16Array.of(0x0000, 0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00),
  BF16: Uint16Array.of(0x0000, 0x3f80, 0xc000, 0x0080, 0x7f7f, 0x7f80),
  FP32: Float32Array.of(0, -1.5, 3.4e38, 1e-45, Infinity, 0.1),
  FP64: Float64Array.of(0, -1.5, 1.7e308, 5e-324, -Infinity, 0.1),
  BYTES: ['', 'a', 'é', '\u{1F600}', 'line\nline', '"quoted"'],
}

test('every datatype goes through as binary data, and as JSON where it has a form', async () => {
  const root = folder.path('datatypes')
  for (const [datatype, dtype] of Object.entries(DATATYPES)) {
    publish(`${root}/${datatype}/1/model.onnx`, await identityModel(dtype))
  }
  const running = await serve([{ path: root, name: null }])
  for (const datatype of Object.keys(DATATYPES) as Datatype[]) {
    const x = { datatype, shape: [2, 3], data: SAMPLES[datatype] } as ClientTensor
    const { outputs } = await running.client.infer(datatype, { x }, { id: datatype })
    assert.equal(outputs['y'], x, datatype)
    const { inputs } = await running.client.modelMetadata(datatype)
    assert.equal(inputs, [{ name: 'x', datatype, shape: [-1, 3] }])

    const data = jsonOf(x)
    const body = JSON.stringify({ inputs: [{ name: 'x', datatype, shape: [2, 3], data: [] }] })
    const response = await fetch(`${running.url}/v2/models/${datatype}/infer`, {
      method: 'POST',
      body: body.replace('[]', data),
    })
    const text = await response.text()
    if (datatype === 'FP16' || datatype === 'BF16') {
      assert.is(response.status, 400)
      assert.match(text, /has no JSON form/)
    } else {
      assert.is(response.status, 200, text)
      assert.ok(text.endsWith(`"shape":[2,3],"data":${data}}]}`), text)
    }
  }
  await running.close()
})

/** Elements as the server writes them; what is infinite has no form. */
function jsonOf({ datatype, data }: ClientTensor): string {
  if (datatype === 'BYTES') return JSON.stringify(data)
  if (datatype === 'BOOL') return JSON.stringify(Array.from(data, value => value === 1))
  const finite = Array.from(data as Float64Array, value =>
    typeof value === 'number' && !Number.isFinite(value) ? 7 : value,
  )
  if (datatype === 'FP32' || datatype === 'FP64') (data as Float64Array).set(finite)
  return `[${finite.join(',').replaceAll('e+', 'e+')}]`
}

test('health, metadata and the index say what there is', async () => {
  const path = folder.path('health', 'My model (1).onnx')
  publish(path, await scaleModel(2))
  const running = await serve([{ path, name: null }])
  const get = async (path: string) => {
    const response = await fetch(running.url + path)
    return [response.status, await response.json()] as const
  }
  const name = 'My_model_1'
  assert.equal(await get('/v2/health/live'), [200, { live: true }])
  assert.equal(await get('/v2/health/ready'), [200, { ready: true }])
  assert.equal(await get(`/v2/models/${name}/ready`), [200, { name, ready: true }])
  assert.equal(await get(`/v2/models/${name}/versions/1/ready`), [200, { name, ready: true }])
  assert.is((await get(`/v2/models/${name}/versions/2/ready`))[0], 400)
  assert.equal((await get('/v2/models/other/ready'))[0], 404)
  const [, server] = await get('/v2/')
  assert.ok((server as { extensions: string[] }).extensions.includes('binary_tensor_data'))
  assert.equal(await running.client.index(), [{ name, version: '1', state: 'READY', reason: '' }])
  const [, metadata] = await get(`/v2/models/${name}`)
  assert.equal(metadata, {
    ...{ name, versions: ['1'], platform: 'onnx_onnxv1' },
    inputs: [{ name: 'x', datatype: 'FP32', shape: [-1, 3] }],
    outputs: [{ name: 'y', datatype: 'FP32', shape: [-1, 3] }],
  })
  const [, document] = await get('/openapi.json')
  const { paths, components } = document as {
    paths: Record<string, unknown>
    components: { schemas: object }
  }
  for (const path of ['/v2', '/v2/health/ready', '/v2/models/{model}/infer', '/v2/repository/index']) {
    assert.ok(path in paths, path)
  }
  const references = [...JSON.stringify(document).matchAll(/"#\/components\/schemas\/(\w+)"/g)]
  for (const [, schema] of references) assert.ok(schema! in components.schemas, schema)
  assert.ok(references.length > 10)
  for (const [method, url, status] of [
    ['GET', '/v2/nothing', 404],
    ['DELETE', '/v2', 405],
    ['GET', `/v2/models/${name}/infer`, 405],
    ['PUT', `/v2/models/${name}`, 405],
    ['POST', '/v2/models/..%2f..%2fetc/infer', 400],
    ['GET', '/v2/models/%2e%2e', 400],
    ['GET', `/v2/models/${name}/versions/latest`, 400],
    ['POST', '/v2/repository/models/x/load', 403],
  ] as const) {
    // fetch would tidy the path up.
    const answer = await exchange(running.url, `${method} ${url}`, '')
    assert.is(answer.status, status, `${method} ${url}`)
    assert.type((JSON.parse(String(answer.body)) as { error: string }).error, 'string')
  }
  await running.close()
})

test('bodies may be packed, answers are where they are asked to be', async () => {
  const path = folder.path('packed', 'm.onnx')
  publish(path, await scaleModel(2))
  const running = await serve([{ path, name: null }])
  const rows = Array.from({ length: 200 }, (_, i) => [i, i + 1, i + 2])
  const json = JSON.stringify({
    inputs: [{ name: 'x', datatype: 'FP32', shape: [200, 3], data: rows }],
  })
  for (const [encoding, body] of [
    ['gzip', gzipSync(json)],
    ['deflate', deflateSync(json)],
    ['identity', Buffer.from(json)],
  ] as const) {
    for (const accept of ['gzip', 'deflate', 'identity']) {
      const response = await fetch(`${running.url}/v2/models/m/infer`, {
        method: 'POST',
        headers: { 'Content-Encoding': encoding, 'Accept-Encoding': accept },
        body,
      })
      assert.is(response.headers.get('content-encoding'), accept === 'identity' ? null : accept)
      const { outputs } = (await response.json()) as { outputs: { data: number[] }[] }
      assert.equal(
        outputs[0]!.data,
        rows.flat().map(value => 2 * value),
      )
    }
  }
  // The bytes themselves: fetch unpacks in silence.
  const raw = await exchange(running.url, 'POST /v2/models/m/infer', json, { 'Accept-Encoding': 'gzip' })
  const unpacked = JSON.parse(String(await promisify(gunzip)(raw.body))) as { outputs: unknown[] }
  assert.is(unpacked.outputs.length, 1)
  const unknown = await fetch(`${running.url}/v2/models/m/infer`, {
    method: 'POST',
    headers: { 'Content-Encoding': 'br' },
    body: json,
  })
  assert.is(unknown.status, 415)
  // A body that is nothing but the tensor.
  const tensor = Buffer.from(Float32Array.of(1, 2, 3, 4, 5, 6).buffer)
  const whole = await exchange(running.url, 'POST /v2/models/m/infer', tensor, {
    'Inference-Header-Content-Length': '0',
  })
  const length = Number(whole.headers['inference-header-content-length'])
  assert.equal(
    [...new Float32Array(new Uint8Array(whole.body.subarray(length)).buffer)],
    [2, 4, 6, 8, 10, 12],
  )
  await running.close()
})

test('requests that come together run together, and each gets its own rows', async () => {
  const path = folder.path('together', 'm.onnx')
  publish(path, await slowModel(1000))
  const running = await serve([{ path, name: null }], { settings: { maxBatch: 8 } })
  const rows = Array.from({ length: 100 }, (_, i) => Array.from({ length: 256 }, (_, j) => i * 256 + j))
  // Of one row and of two.
  const asked = rows.map((row, i) => (i % 3 === 0 ? [row, row] : [row]))
  const answers = await Promise.all(asked.map(part => ask(running, 'm', part)))
  answers.forEach((answer, i) => assert.equal(answer, asked[i]!.flat()))
  const [statistics] = await running.client.statistics('m')
  const items = asked.reduce((sum, part) => sum + part.length, 0)
  assert.is(statistics!.inference_count, items)
  assert.is(statistics!.inference_stats.success.count, 100)
  assert.ok(statistics!.execution_count < 60, `${statistics!.execution_count} runs of 100 requests`)
  const counted = statistics!.batch_stats.reduce(
    (sum, { batch_size: n, compute_infer }) => sum + n * compute_infer.count,
    0,
  )
  assert.is(counted, items)
  assert.ok(statistics!.batch_stats.every(({ batch_size: n }) => n <= 8))
  const text = await (await fetch(`${running.url}/metrics`)).text()
  assert.match(text, new RegExp(`nv_inference_count\\{model="m",version="1"\\} ${items}\\n`))
  assert.match(text, /nv_inference_request_success\{model="m",version="1"\} 100\n/)
  assert.match(
    text,
    new RegExp(`nv_inference_exec_count\\{model="m",version="1"\\} ${statistics!.execution_count}\\n`),
  )
  assert.match(text, /nv_inference_request_failure\{model="m",version="1",reason="REJECTED"\} 0\n/)
  assert.match(text, /swa_onnx_request_duration_seconds_count\{model="m",version="1"\} 100\n/)
  assert.match(text, new RegExp(`swa_onnx_batch_size_sum\\{model="m",version="1"\\} ${items}\\n`))
  await running.close()
})

test('a delay lets requests wait for others, and no longer', async () => {
  const path = folder.path('delay', 'm.onnx')
  publish(path, await scaleModel(2))
  const running = await serve([{ path, name: null }], { settings: { maxBatch: 4, maxDelay: 300 } })
  const started = performance.now()
  await Promise.all([1, 2, 3, 4].map(value => ask(running, 'm', [[value, 0, 0]])))
  assert.ok(performance.now() - started < 290, 'a full batch does not wait')
  const alone = performance.now()
  await ask(running, 'm', ROW)
  assert.ok(performance.now() - alone >= 290, 'one alone does')
  const [statistics] = await running.client.statistics('m')
  assert.equal(
    statistics!.batch_stats.map(({ batch_size: n }) => n),
    [1, 4],
  )
  await running.close()
})

test('a full queue, a deadline and a client that leaves', async () => {
  const path = folder.path('busy', 'm.onnx')
  publish(path, await slowModel(4000))
  const running = await serve([{ path, name: null }], { settings: { maxBatch: 1, maxQueue: 2 } })
  // Forty rows: some tenths of a second.
  const row = Array.from({ length: 40 }, () => Array.from({ length: 256 }, (_, i) => i))
  const scheduler = running.server.repository.model('m').pick(null).scheduler
  const first = ask(running, 'm', row)
  await until('it runs', () => scheduler.pending === 1 && scheduler.waiting === 0)
  const controller = new AbortController()
  const leaving = running.client
    .infer('m', rowsOf(row), { signal: controller.signal })
    .then(() => 'an answer', String)
  const late = running.client.infer('m', rowsOf(row), { timeout: 5 }).catch((error: unknown) => error)
  assert.match(String(await late), /timed out after 5 ms/)
  await until('one waits', () => scheduler.waiting === 1)
  const second = ask(running, 'm', row)
  await until('two wait', () => scheduler.waiting === 2)
  const refused = await fetch(`${running.url}/v2/models/m/infer`, {
    method: 'POST',
    body: JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [40, 256], data: row }] }),
  })
  assert.is(refused.status, 503)
  assert.ok(Number(refused.headers.get('retry-after')) >= 1)
  assert.match(await refused.text(), /the queue is full: 2 requests wait/)
  controller.abort()
  assert.match(await leaving, /Abort/)
  await until('its place is free', () => scheduler.waiting === 1)
  assert.equal(await first, row.flat())
  assert.equal(await second, row.flat())
  const { failures } = running.server.repository.model('m').pick(null).statistics
  assert.equal(failures, { REJECTED: 2, CANCELED: 1, BACKEND: 0, OTHER: 0 })
  // As Triton counts: the time of those that were answered, and of no other.
  const { success, fail } = (await running.client.statistics('m'))[0]!.inference_stats
  assert.ok(fail.ns > 0)
  const text = await (await fetch(`${running.url}/metrics`)).text()
  const [, us] = /nv_inference_request_duration_us\{model="m",version="1"\} (\d+)\n/.exec(text)!
  assert.is(Number(us), Math.round(success.ns / 1000))
  await running.close()
})

test('an input that the model cannot be run on fails alone, without names of the inside', async () => {
  const path = folder.path('gather', 'm.onnx')
  publish(path, await gatherModel())
  const running = await serve([{ path, name: null }])
  const index = (i: bigint) =>
    running.client.infer('m', { i: { datatype: 'INT64', shape: [1], data: BigInt64Array.of(i) } })
  const results = await Promise.allSettled([0n, 9n, 3n, -77n, 1n].map(index))
  const values = results.map(result => (result.status === 'fulfilled' ? numbersOf(result.value)[0]! : null))
  assert.equal(values, [10, null, 13, null, 11])
  const { message } = (results[1] as PromiseRejectedResult).reason as Error
  assert.match(message, /cannot be run on this input: .*out of data bounds, idx=9/)
  assert.not.match(message, /secret|\/|\.cc/)
  await running.close()
})

test('https', async () => {
  const path = folder.path('tls', 'm.onnx')
  publish(path, await scaleModel(2))
  const file = (name: string) => readFileSync(new URL(`../../fixtures/serve/tls/${name}`, import.meta.url))
  const running = await serve([{ path, name: null }], {
    tls: { cert: file('cert.pem'), key: file('key.pem') },
  })
  assert.match(running.url, /^https:/)
  const status = await new Promise<number>((resolve, reject) => {
    const request = httpsRequest(`${running.url}/v2/health/ready`, { ca: file('cert.pem') }, response => {
      response.resume()
      resolve(response.statusCode!)
    })
    request.on('error', reject).end()
  })
  assert.is(status, 200)
  await running.close()
})

test('an end without losses: what was asked is answered, what comes later finds nobody', async () => {
  const path = folder.path('end', 'm.onnx')
  publish(path, await slowModel(3000))
  const running = await serve([{ path, name: null }], { noticeMs: 200, settings: { maxBatch: 1 } })
  const row = [Array.from({ length: 256 }, (_, i) => i)]
  const asked = Array.from({ length: 12 }, () => ask(running, 'm', row))
  const { scheduler } = running.server.repository.model('m').pick(null)
  await until('all are in', () => scheduler.pending >= 8)
  const closing = running.close()
  await until('it says so', async () => !(await running.client.ready()))
  assert.equal(await ask(running, 'm', row), row.flat(), 'and answers still')
  for (const answer of await Promise.all(asked)) assert.equal(answer, row.flat())
  await closing
  assert.match(String(await new InferenceClient(running.url).live().catch(String)), /fetch failed/)
})

test.run()
