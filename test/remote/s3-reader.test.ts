/** Objects in S3, by the real SDK from a server in this process, and what happens where the SDK is missing. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { openSource, stampFiles } from '../../src/remote/index.ts'
import { connect, openS3, type S3Module } from '../../src/remote/s3-reader.ts'
import { EnvironmentError, InputError } from '../../src/util/errors.ts'
import { errorOf } from '../support/errors.ts'
import { sendFile, startServer, type Behaviour } from './support/server.ts'

const server = await startServer()
test.after(() => server.close())

// The settings that the SDK reads.
Object.assign(process.env, {
  AWS_ENDPOINT_URL_S3: server.origin,
  AWS_REGION: 'eu-central-1',
  AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE',
  AWS_SECRET_ACCESS_KEY: 'none',
  AWS_MAX_ATTEMPTS: '1',
})

const FAST = { backoffMs: 1, longestWaitMs: 5, timeoutMs: 300, attempts: 3 }
const bytes = Uint8Array.from({ length: 2 ** 20 }, (_, i) => (i * 7 + (i >> 8)) & 255)

/** An object that behaves in its own way once it was opened; `count` counts from there on. */
function put(key: string, behaviour: Behaviour = () => false): string {
  server.files.set(`/bucket/${key}`, bytes)
  server.behaviours.set(
    `/bucket/${key}`,
    (request, response, count) => request.method !== 'HEAD' && behaviour(request, response, count - 1),
  )
  return `s3://bucket/${key}`
}

async function tailOf(url: string): Promise<number[]> {
  const source = await openSource(url, FAST)
  assert.is(source.byteLength, bytes.length)
  return [...(await source.read(bytes.length - 2, 2))]
}
const TAIL = [...bytes.subarray(-2)]

test('ranges of an object, whatever its key', async () => {
  for (const key of ['a.safetensors', 'folder/with space/ü+?#&=.onnx', 'a%20b', '@x']) {
    // A path style address, as a store of this name has no host for each bucket.
    assert.equal(await tailOf(put(key)), TAIL, key)
  }
  const source = await openSource(put('b'), FAST)
  assert.ok(Buffer.compare(await source.read(9, 500_000), bytes.subarray(9, 500_009)) === 0)
  assert.is(server.log.at(-1), '/bucket/b bytes=9-500008')
  assert.match(server.headers.at(-1)!.authorization!, /Credential=AKIDEXAMPLE\/\d+\/eu-central-1\/s3\//)
  assert.match(server.headers.at(-1)!['if-match']!, /^"[0-9a-f]{40}"$/)
})

test('what fails for a moment is tried again', async () => {
  const first =
    (behaviour: Behaviour): Behaviour =>
    (request, response, count) =>
      count === 1 && behaviour(request, response, count)
  const start = { 'content-range': `bytes 786432-1048575/${bytes.length}`, 'content-length': 262144 }
  for (const [key, behaviour] of [
    ['503', (_request, response) => Boolean(response.writeHead(503).end())],
    ['cut', (_request, response) => response.writeHead(206, start).write('x', () => response.destroy())],
    ['hangs', (_request, response) => response.writeHead(206, start).write('x') || true],
    ['never', () => true],
  ] as [string, Behaviour][])
    assert.equal(await tailOf(put(key, first(behaviour))), TAIL, key)
})

test('errors name the object and the cure', async () => {
  for (const [key, behaviour, message, kind] of [
    [
      'changed',
      (request, response) => sendFile(bytes.slice(1), request, response),
      /was replaced by another/,
      3,
    ],
    [
      '500',
      (_request, response) => Boolean(response.writeHead(500).end()),
      /store answers 500 \(3 attempts\)$/,
      4,
    ],
    [
      '403',
      (_request, response) => Boolean(response.writeHead(403).end()),
      /the store denies access \(403\)$/,
      3,
    ],
  ] as [string, Behaviour, RegExp, number][]) {
    const error = await errorOf(tailOf(put(key, behaviour)))
    assert.match(error.message, new RegExp(`^read s3://bucket/${key}: `))
    assert.match(error.message, message)
    assert.is(error.exitCode, kind)
  }
  const none = await errorOf(openSource('s3://bucket/none', FAST))
  assert.is(none.message, 'read s3://bucket/none: there is no such object (404)')
  assert.instance(none, InputError)
  for (const url of ['s3://bucket', 's3://bucket/', 's3://bucket/folder/', 's3://KEY:SECRET@bu cket/x']) {
    const error = await errorOf(openSource(url, FAST))
    assert.match(error.message, /^read s3:\/\/bu ?cket[^@]*: expected s3:\/\/bucket\/key$/)
  }
})

test('the stamp of an object is its length and ETag', async () => {
  const stamp = await stampFiles([put('stamp')])
  assert.is(stamp.bytes, bytes.length)
  assert.equal(await stampFiles(['s3://bucket/stamp']), stamp)
  server.files.set(
    '/bucket/stamp',
    bytes.map(byte => byte ^ 1),
  )
  assert.is.not((await stampFiles(['s3://bucket/stamp'])).modified, stamp.modified)
})

test('without the SDK there is one error with its cure', async () => {
  const missing = Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' })
  const error = await errorOf(
    openS3(
      's3://bucket/a',
      FAST,
      connect(() => Promise.reject(missing)),
    ),
  )
  assert.instance(error, EnvironmentError)
  assert.is(error.message, 's3:// needs the package @aws-sdk/client-s3, which is not installed')
  assert.is(error.cure, 'npm install @aws-sdk/client-s3')
  const broken = await errorOf(connect(() => Promise.reject(new Error('wrong version'))))
  assert.match(broken.message, /which cannot be loaded: wrong version$/)
})

test('settings that are missing are told as the SDK tells them', async () => {
  class Client {
    send(): Promise<never> {
      return Promise.reject(Object.assign(new Error('Region is missing'), { name: 'Error' }))
    }
  }
  const module = {
    S3Client: Client,
    HeadObjectCommand: Object,
    GetObjectCommand: Object,
  } as unknown as S3Module
  const error = await errorOf(
    openS3(
      's3://bucket/a',
      FAST,
      connect(() => Promise.resolve(module)),
    ),
  )
  assert.is(error.message, 'read s3://bucket/a: Region is missing')
  assert.instance(error, EnvironmentError)
  assert.match(error.cure!, /AWS_REGION/)
})

test.run()
