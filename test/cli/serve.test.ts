/** `swa-onnx serve` in a process: it says where it is, answers, and ends without losses when it is told to. */

import { generateKeyPairSync } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { InferenceClient } from '../../src/serve/client/client.ts'
import { scaleModel } from '../serve/support/small-models.ts'
import { CLASSIFIER, swa } from './support/cli.ts'
import { start } from './support/server.ts'

const folder = mkdtempSync(join(tmpdir(), 'swa-onnx-cli-serve-'))
const MODEL = join(folder, 'scale.onnx')
const [CERT, KEY] = ['fixtures/serve/tls/cert.pem', 'fixtures/serve/tls/key.pem']
test.before(async () => writeFileSync(MODEL, await scaleModel(2)))
test.after(() => rmSync(folder, { recursive: true, force: true }))

test('a model under a name of its own, and the classifier of real text lines', async () => {
  const server = await start(
    `twice=${MODEL}`,
    CLASSIFIER,
    '--max-batch',
    '4',
    '--instances',
    '1',
    '--threads',
    '1',
  )
  assert.equal(server.models.map(({ name }) => name).sort(), ['ch_ppocr_mobile_v2.0_cls_infer', 'twice'])
  const client = new InferenceClient(server.url)
  const { outputs } = await client.infer('twice', {
    x: { datatype: 'FP32', shape: [1, 3], data: Float32Array.of(1, 2, 3) },
  })
  assert.equal([...(outputs['y']!.data as Float32Array)], [2, 4, 6])
  const lines = await client.infer('ch_ppocr_mobile_v2.0_cls_infer', {
    x: { datatype: 'FP32', shape: [2, 3, 48, 192], data: new Float32Array(2 * 3 * 48 * 192) },
  })
  const [probabilities] = Object.values(lines.outputs)
  assert.equal(probabilities!.shape, [2, 2])
  const [upright, turned] = probabilities!.data as Float32Array
  assert.ok(Math.abs(upright! + turned! - 1) < 1e-5, 'a softmax')
  const { code, stderr } = await server.end('SIGTERM')
  assert.is(code, 0, stderr)
  const log = stderr.split('\n').filter(line => line.startsWith('{'))
  assert.ok(log.some(line => (JSON.parse(line) as { msg: string }).msg === 'in service'))
})

test('keys from files, and a signal while requests run', async () => {
  writeFileSync(join(folder, 'key'), 'a-key-of-mine\n')
  const server = await start(MODEL, '--api-key-file', join(folder, 'key'), '--log-level', 'silent')
  const stranger = await fetch(`${server.url}v2`)
  assert.is(stranger.status, 401)
  const client = new InferenceClient(server.url, { key: 'a-key-of-mine' })
  const ask = () =>
    client.infer('scale', { x: { datatype: 'FP32', shape: [1, 3], data: Float32Array.of(1, 2, 3) } })
  await ask()
  const asked = Array.from({ length: 50 }, ask)
  await asked[0]
  const ended = server.end('SIGTERM')
  const answers = await Promise.allSettled(asked)
  // What reached the server is answered; what did not finds a closed port, never half an answer.
  for (const answer of answers) {
    if (answer.status === 'rejected') assert.match(String(answer.reason), /fetch failed/)
  }
  assert.is((await ended).code, 0)
})

test('what cannot be is said at once', async () => {
  const taken = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => taken.once('listening', resolve))
  const port = String((taken.address() as AddressInfo).port)
  const [none, broken, otherKey] = ['none', 'broken.onnx', 'other.pem'].map(name => join(folder, name)) as [
    string,
    string,
    string,
  ]
  writeFileSync(broken, 'no model')
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  writeFileSync(otherKey, privateKey.export({ type: 'pkcs8', format: 'pem' }))
  const rows: readonly (readonly [string[], number, RegExp])[] = [
    [[], 2, /expected models, found none/],
    [[MODEL, '--port', '70000'], 2, /--port: expected a number from 0 to 65535, found 70000/],
    [[MODEL, '--versions', 'newest'], 2, /--versions: expected latest:N, all or numbers/],
    [[MODEL, '--canary', 'm=3'], 2, /--canary: expected model:version=percent/],
    [[MODEL, '--tls-cert', 'x.pem'], 2, /--tls-cert, --tls-key: expected both or none/],
    [[MODEL, '--tls-cert', CERT, '--tls-key', none], 3, /--tls-key .*none: ENOENT/],
    [[MODEL, '--tls-cert', KEY, '--tls-key', KEY], 3, /--tls-cert .*key\.pem: expected a certificate chain/],
    [[MODEL, '--tls-cert', CERT, '--tls-key', broken], 3, /--tls-key .*broken\.onnx: expected a private key/],
    [[MODEL, '--tls-cert', CERT, '--tls-key', otherKey], 3, /--tls-key .*other\.pem: expected the key of/],
    [[MODEL, '--api-key-file', none], 3, /--api-key-file .*none: ENOENT/],
    [[MODEL, '--watch'], 2, /^error: --watch: expected a value, found nothing\n$/],
    [[MODEL, '--allowHost'], 2, /^error: Not enough arguments following: allowHost\n {2}help: see .*\n$/],
    [[MODEL, '--api-key', 'short'], 2, /--api-key: expected at least 8 characters/],
    [[MODEL, '--max-memory', '10'], 2, /--max-memory: expected at least the size of one request/],
    [[MODEL, '--port', port], 4, /cannot listen on 127\.0\.0\.1:\d+: .*EADDRINUSE/],
    [[join(folder, 'none.onnx')], 3, /none\.onnx: .*no such file/],
    [[join(folder, 'broken.onnx')], 3, /broken version 1: /],
    [['https://example.org/model.onnx'], 3, /no such file/],
  ]
  for (const [args, code, message] of rows) {
    const run = await swa('serve', ...args)
    assert.is(run.code, code, `${args.join(' ')}: ${run.stderr}`)
    assert.match(run.stderr, message)
  }
  taken.close()
})

test.run()
