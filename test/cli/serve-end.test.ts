/** How a server's process ends: in good order, in time, and at once where it is told so. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { InferenceClient } from '../../src/serve/client/client.ts'
import { until } from '../serve/support/running.ts'
import { slowModel } from '../serve/support/small-models.ts'
import { launch, start, type Started } from './support/server.ts'

const folder = mkdtempSync(join(tmpdir(), 'swa-onnx-cli-end-'))
const SLOW = join(folder, 'slow.onnx')
const ALONE = ['--max-batch', '1', '--instances', '1', '--threads', '1']
test.before(async () => writeFileSync(SLOW, await slowModel(2000)))
test.after(() => rmSync(folder, { recursive: true, force: true }))

/** Milliseconds that a process may take to end on a busy machine; the run that it ends under takes far longer. */
const SOON_MS = 15_000

/** Begins a run of a minute or more. */
async function keepBusy({ url }: Started): Promise<void> {
  const client = new InferenceClient(url)
  const rows = 12_000
  const x = { datatype: 'FP32', shape: [rows, 256], data: new Float32Array(rows * 256) } as const
  void client.infer('slow', { x }).catch(() => undefined)
  await until('it runs', async () =>
    /swa_onnx_running_requests\{model="slow",version="1"\} 1\n/.test(
      await (await fetch(`${url}metrics`)).text(),
    ),
  )
}

test('a second signal ends a model run at once', async () => {
  const server = await start(SLOW, ...ALONE)
  await keepBusy(server)
  server.kill('SIGTERM')
  await until('it heard', () => server.stderr().includes('stopping at the next safe point'))
  const started = performance.now()
  const { signal, stderr } = await server.end('SIGTERM')
  assert.is(signal, 'SIGKILL', stderr)
  assert.ok(performance.now() - started < SOON_MS)
  assert.match(stderr, /a model is running: the process is killed/)
  assert.not.match(stderr, /terminate called/)
})

test('a second signal ends a server that runs nothing with its exit code', async () => {
  const server = await start(SLOW, ...ALONE, '--drain-delay', '60')
  server.kill('SIGTERM')
  await until('it heard', () => server.stderr().includes('stopping at the next safe point'))
  const { code, signal, stderr } = await server.end('SIGTERM')
  assert.equal([code, signal], [130, null], stderr)
})

test('the time of the drain ends a run that goes on, and the log says which', async () => {
  const server = await start(SLOW, ...ALONE, '--drain-timeout', '0.5')
  await keepBusy(server)
  const started = performance.now()
  const { signal, stderr } = await server.end('SIGTERM')
  assert.is(signal, 'SIGKILL', stderr)
  assert.ok(performance.now() - started < SOON_MS)
  const log = stderr.trim().split('\n')
  const lines = log.map(line => JSON.parse(line) as { msg: string; model?: string })
  assert.is(lines.find(({ msg }) => msg === 'it still runs')?.model, 'slow')
  assert.is(lines.at(-1)!.msg, 'a model is running: the process is killed')
})

test('a lost terminal ends it in good order, and a second time at once', async () => {
  const orderly = await start(SLOW, ...ALONE)
  const { code, signal, stderr } = await orderly.end('SIGHUP')
  assert.equal([code, signal], [0, null], stderr)
  const server = await start(SLOW, ...ALONE, '--drain-delay', '60')
  server.kill('SIGHUP')
  await until('it heard', () => server.stderr().includes('stopping at the next safe point'))
  assert.is((await server.end('SIGHUP')).code, 130)
})

test('stderr that is no terminal has JSON lines alone', async () => {
  const server = await start(SLOW, ...ALONE)
  const { stderr } = await server.end('SIGTERM')
  const messages = stderr
    .trim()
    .split('\n')
    .map(line => (JSON.parse(line) as { msg: string }).msg)
  assert.ok(messages.some(message => message.startsWith('engine cpu (')))
  assert.ok(messages.some(message => message.startsWith('stopping at the next safe point')))
  const silent = await start(SLOW, ...ALONE, '--log-level', 'silent')
  assert.is((await silent.end('SIGTERM')).stderr, '')
})

test('a signal while models load ends it soon, with no port opened', async () => {
  const names = Array.from({ length: 20 }, (_, i) => `m${i}=${SLOW}`)
  const loading = launch(...names)
  await until('it loads', () => loading.stderr().includes('"msg":"loading"'))
  const started = performance.now()
  loading.kill('SIGTERM')
  const { code, signal, stdout, stderr } = await loading.gone
  // On a busy machine a session may still be opening when the time is over.
  assert.ok(code === 130 || signal === 'SIGKILL', `${code}: ${stderr}`)
  assert.ok(performance.now() - started < SOON_MS)
  assert.is(stdout, '')
  assert.not.match(stderr, /Server listening|could not be loaded/)
  assert.match(stderr, /stopped before the models were loaded/)
})

test.run()
