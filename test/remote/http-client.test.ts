/** Redirects and credentials: where requests go, and what goes with them. */

import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { authorizationFor } from '../../src/remote/http-access.ts'
import { openSource } from '../../src/remote/index.ts'
import { InputError } from '../../src/util/errors.ts'
import { errorOf } from '../support/errors.ts'
import { startServer, type Behaviour } from './support/server.ts'

const test = suite('remote: redirects and credentials')
const server = await startServer()
const elsewhere = await startServer()
test.after(async () => {
  await server.close()
  await elsewhere.close()
})

const FAST = { backoffMs: 1, longestWaitMs: 5, attempts: 2 }
const bytes = Uint8Array.from({ length: 300_000 }, (_, i) => i & 255)

const moved =
  (location: string): Behaviour =>
  (_request, response) => {
    response.writeHead(302, location === '' ? {} : { location }).end('moved')
    return true
  }

async function readTail(url: string): Promise<number[]> {
  const source = await openSource(url, FAST)
  return [...(await source.read(299_998, 2))]
}
const TAIL = [...bytes.subarray(-2)]

/** Runs with another `fetch`, for answers of servers with certificates. */
async function withFetch(answer: (url: URL, init: RequestInit) => Response, run: () => Promise<void>) {
  const real = globalThis.fetch
  globalThis.fetch = (url, init) => Promise.resolve(answer(new URL(url as URL), init!))
  try {
    await run()
  } finally {
    globalThis.fetch = real
  }
}

test('redirects are followed, and remembered until they expire', async () => {
  elsewhere.files.set('/cdn', bytes)
  let signature = 1
  elsewhere.behaviours.set('/cdn', (request, response) => {
    if (request.url === `/cdn?signature=${signature}`) return false
    response.writeHead(403).end()
    return true
  })
  server.behaviours.set('/hub', (request, response, count) =>
    moved(count === 1 ? '/hub/next' : `${elsewhere.origin}/cdn?signature=${signature}`)(request, response, 1),
  )
  server.behaviours.set('/hub/next', moved(`${elsewhere.origin}/cdn?signature=1`))
  const source = await openSource(`${server.origin}/hub`, FAST)
  assert.equal([...(await source.read(299_998, 2))], TAIL)
  assert.equal(server.log, ['/hub bytes=0-262143', '/hub/next bytes=0-262143'])
  signature = 2
  await source.close()
  assert.equal([...(await source.read(299_998, 2))], TAIL)
  assert.is(server.log.length, 3)
})

test('redirects that lead nowhere are refused', async () => {
  server.behaviours.set('/loop', moved('/loop'))
  server.behaviours.set('/file', moved('file:///etc/passwd'))
  server.behaviours.set('/none', moved(''))
  for (const [path, message] of [
    ['/loop', 'more than 5 redirects'],
    ['/file', 'the server redirects (302) to file:, which is not followed'],
    ['/none', 'the server redirects (302) to no address, which is not followed'],
  ]) {
    const error = await errorOf(openSource(`${server.origin}${path!}?secret`, FAST))
    assert.instance(error, InputError)
    assert.is(error.message, `read ${server.origin}${path!}: ${message!}`)
  }
  await withFetch(
    () => new Response(null, { status: 302, headers: { location: 'http://host/x' } }),
    async () => {
      const error = await errorOf(openSource('https://host/x', FAST))
      assert.match(error.message, /redirects \(302\) from https to http, which is not followed$/)
    },
  )
})

test('a certificate that is not valid is no reason to try again', async () => {
  let requests = 0
  const failing = () => {
    requests++
    throw new TypeError('fetch failed', {
      cause: Object.assign(new Error('self-signed certificate'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' }),
    })
  }
  await withFetch(failing, async () => {
    const error = await errorOf(openSource('https://selfsigned/x', FAST))
    assert.is(error.message, 'read https://selfsigned/x: self-signed certificate')
  })
  assert.is(requests, 1)
})

test('a password goes to its own server alone', async () => {
  server.behaviours.set('/private', moved(`${elsewhere.origin}/public`))
  server.files.set('/own', bytes)
  elsewhere.files.set('/public', bytes)
  const withUser = server.origin.replace('//', '//me:p%40ss@')
  const basic = `Basic ${Buffer.from('me:p@ss').toString('base64')}`
  assert.equal(await readTail(`${withUser}/own`), TAIL)
  assert.is(server.headers.at(-1)!.authorization, basic)
  assert.equal(await readTail(`${withUser}/private`), TAIL)
  assert.is(server.headers.at(-1)!.authorization, basic)
  assert.is(elsewhere.headers.at(-1)!.authorization, undefined)
  assert.is(server.headers.at(-1)!['accept-encoding'], 'identity')
})

test('a token goes to the host that it is for, encrypted', async () => {
  const tokens = ' hub.example=abc=  127.0.0.1:80=local other.example:8443=x'
  for (const [url, expected] of [
    ['https://hub.example/x', 'Bearer abc='],
    ['http://hub.example/x', null],
    ['https://hub.example:444/x', null],
    ['https://hub.example.evil/x', null],
    ['https://other.example:8443/x', 'Bearer x'],
    ['https://u:%zz@hub.example/x', `Basic ${Buffer.from('u:%zz').toString('base64')}`],
    ['https://u@hub.example/x', `Basic ${Buffer.from('u:').toString('base64')}`],
  ] as const)
    assert.is(authorizationFor(new URL(url), tokens), expected, url)
  assert.is(authorizationFor(new URL('http://localhost:8/x'), 'localhost:8=y'), 'Bearer y')
  for (const wrong of ['hf_secret', 'host=', '=secret', 'host=sécret']) {
    const error = await errorOf(() => authorizationFor(new URL('https://host/x'), wrong))
    assert.is(error.message, 'SWA_ONNX_HTTP_TOKEN: expected host=token')
  }
})

test.run()
