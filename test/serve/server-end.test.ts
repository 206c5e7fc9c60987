/** The end of a server as its clients see it: told to leave, answered until then, and never waited for without end. */

import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { Agent as TlsAgent, request as tlsRequest } from 'node:https'
import { connect } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { pino } from 'pino'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Engine, Runner } from '../../src/runtime/engine.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { InterruptedError } from '../../src/util/errors.ts'
import { publish, scaleModel, slowModel } from './support/small-models.ts'
import { ask, closeAll, serve, temporaryFolder, until, type TestServer } from './support/running.ts'

const folder = temporaryFolder()
test.after(async () => {
  await closeAll()
  folder.remove()
})

const fixture = (name: string) => readFileSync(new URL(`../../fixtures/serve/tls/${name}`, import.meta.url))
const TLS = { cert: fixture('cert.pem'), key: fixture('key.pem') }
const trusted = { ca: TLS.cert }

/** A client with one connection that it keeps. */
function keeper(url: string): { ask(path: string, body?: string): Promise<{ last: boolean; text: string }> } {
  const tls = url.startsWith('https:')
  const agent = tls
    ? new TlsAgent({ keepAlive: true, maxSockets: 1, ...trusted })
    : new Agent({ keepAlive: true, maxSockets: 1 })
  return {
    ask: (path, body) =>
      new Promise((resolve, reject) => {
        const asked = (tls ? tlsRequest : request)(
          url + path,
          { agent, method: body === undefined ? 'GET' : 'POST' },
          response => {
            let text = ''
            response.on('data', (chunk: Buffer) => (text += String(chunk)))
            response.on('end', () => resolve({ last: response.headers.connection === 'close', text }))
            response.on('error', reject)
          },
        )
        asked.on('error', reject).end(body)
      }),
  }
}

const pause = (ms: number) => new Promise(resolve => setTimeout(resolve, ms))

/** Asks with a pause between until it is told that the connection ends; fails where a request is lost. */
async function askUntilTold({ url }: TestServer): Promise<number> {
  const client = keeper(url)
  const body = JSON.stringify({
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 3], data: [1, 2, 3] }],
  })
  for (let answers = 1; ; answers++) {
    const { last, text } = await client.ask('/v2/models/m/infer', body)
    assert.ok(text.endsWith('"data":[2,4,6]}]}'), text)
    if (last) return answers
    await pause(5)
  }
}

for (const [noticeMs, when] of [
  [0, 'at once'],
  [300, 'after a notice'],
] as const) {
  test(`who keeps a connection is told, and loses nothing: ${when}`, async () => {
    const path = folder.path(`told${noticeMs}`, 'm.onnx')
    publish(path, await scaleModel(2))
    const running = await serve([{ path, name: null }], { noticeMs, graceMs: 1000 })
    const clients = Array.from({ length: 8 }, () => askUntilTold(running))
    await until('they ask', () => running.server.repository.model('m').pick(null).statistics.items > 80)
    const closed = running.close()
    // Each of them hears of it with its next answer.
    for (const answers of await Promise.all(clients)) assert.ok(answers > 1)
    assert.ok(await closed)
  })
}

test('nobody comes in while who is there is waited for', async () => {
  const path = folder.path('refused', 'm.onnx')
  publish(path, await scaleModel(2))
  const running = await serve([{ path, name: null }], { graceMs: 1000 })
  const idle = keeper(running.url)
  assert.not((await idle.ask('/v2')).last)
  const closed = running.close()
  const port = Number(new URL(running.url).port)
  const letIn = () =>
    new Promise<boolean>(resolve => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.destroy()
        resolve(true)
      }).on('error', () => resolve(false))
    })
  await until('nobody is let in', async () => !(await letIn()))
  assert.ok((await idle.ask('/v2')).last, 'is still answered, and told')
  assert.ok(await closed)
})

for (const [name, tls] of [
  ['http', undefined],
  ['https', TLS],
] as const) {
  test(`${name}: connections that say nothing hold nobody up, requests are answered`, async () => {
    const path = folder.path(`silent-${name}`, 'm.onnx')
    publish(path, await slowModel(2000))
    const running = await serve([{ path, name: null }], {
      ...(tls ? { tls } : {}),
      drainMs: 60_000,
      settings: { maxBatch: 1 },
    })
    const port = Number(new URL(running.url).port)
    const silent = connect(port, '127.0.0.1')
    const ended = new Promise(resolve => silent.on('close', resolve).on('error', () => undefined))
    await new Promise(resolve => silent.once('connect', resolve))
    const client = keeper(running.url)
    assert.not((await client.ask('/v2')).last)
    const rows = 40
    const body = JSON.stringify({
      inputs: [{ name: 'x', datatype: 'FP32', shape: [rows, 256], data: Array(rows * 256).fill(1) }],
    })
    const asked = client.ask('/v2/models/m/infer', body)
    const { scheduler } = running.server.repository.model('m').pick(null)
    await until('it runs', () => scheduler.pending === 1)
    const started = performance.now()
    const closed = running.close()
    const { last, text } = await asked
    assert.ok(last)
    assert.match(text, /"data":\[1,1,1,/)
    assert.ok(await closed)
    await ended
    assert.ok(performance.now() - started < 30_000, 'long before the time of the drain is over')
  })
}

test('a connection that only shook hands ends with the time of the drain', async () => {
  const path = folder.path('shaken', 'm.onnx')
  publish(path, await scaleModel(2))
  const running = await serve([{ path, name: null }], { tls: TLS, drainMs: 200 })
  const socket = connectTls(Number(new URL(running.url).port), '127.0.0.1', trusted)
  const ended = new Promise(resolve => socket.on('close', resolve).on('error', () => undefined))
  await new Promise(resolve => socket.once('secureConnect', resolve))
  assert.ok(await running.close())
  await ended
})

test('a run that goes on is not waited for after the time of the drain', async () => {
  const path = folder.path('long', 'm.onnx')
  publish(path, await slowModel(4000))
  const running = await serve([{ path, name: null }], { drainMs: 50, settings: { maxBatch: 1 } })
  const version = running.server.repository.model('m').pick(null)
  const rows = Array.from({ length: 1000 }, () => Array.from({ length: 256 }, (_, i) => i))
  const asked = ask(running, 'm', rows).then(() => 'answered', String)
  await until('it runs', () => version.instances[0]!.running === 1)
  assert.not(await running.close())
  assert.match(await asked, /terminated|other side closed|fetch failed/)
  const left = running.log.find(({ msg }) => msg === 'it still runs')
  assert.equal([left?.['model'], left?.['version']], ['m', '1'])
  await until('the run has ended', () => version.instances[0]!.running === 0)
})

test('a load that is told to stop ends at its next step, and no port was opened', async () => {
  const root = folder.path('stopped')
  for (const name of ['a', 'b', 'c']) publish(`${root}/${name}/1/model.onnx`, await scaleModel(2))
  const [inner, controller] = [cpuEngine(), new AbortController()]
  const reason = new InterruptedError('interrupted')
  const open = new Set<Runner>()
  let opened = 0
  const engine: Engine = {
    ...inner,
    async openRunner(...args) {
      const runner = await inner.openRunner(...args)
      const close = runner.close.bind(runner)
      open.add(runner)
      // With the first session of the second model.
      if (++opened === 2) controller.abort(reason)
      return Object.assign(runner, {
        close: () => {
          open.delete(runner)
          return close()
        },
      })
    },
  }
  let log = ''
  const logger = pino({ level: 'debug' }, { write: line => void (log += line) })
  const { signal } = controller
  const error = await serve([{ path: root, name: null }], { engine, signal, logger }).catch(
    (error: unknown) => error,
  )
  assert.is(error, reason)
  assert.is(opened, 2)
  assert.is(open.size, 0, 'sessions were left open')
  assert.match(log, /"msg":"loading"/)
  assert.not.match(log, /Server listening|could not be loaded/)
})

test.run()
