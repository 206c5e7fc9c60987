/** Files on a web server: their bytes, and one clear error for whatever goes wrong on the way. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { openSource, stampFiles } from '../../src/remote/index.ts'
import { EnvironmentError, InputError, UnsupportedError, UsageError } from '../../src/util/errors.ts'
import { errorOf } from '../support/errors.ts'
import { sendFile, startServer, type Behaviour } from './support/server.ts'

const server = await startServer()
test.after(() => server.close())

const MIB = 2 ** 20
const bytes = Uint8Array.from({ length: 3 * MIB + 5 }, (_, i) => (i * 31 + (i >> 8)) & 255)
const other = bytes.map(byte => byte ^ 1)
const FAST = { backoffMs: 1, longestWaitMs: 5, timeoutMs: 300 }

/** A file of the server that behaves in its own way. */
function put(path: string, behaviour: Behaviour = () => false, content = bytes): string {
  server.files.set(path, content)
  server.behaviours.set(path, behaviour)
  return server.origin + path
}

async function readAll(url: string): Promise<Uint8Array> {
  const source = await openSource(url, FAST)
  try {
    return await source.read(0, source.byteLength)
  } finally {
    await source.close()
  }
}

/** The error of reading the middle of a file, without the address of the server. */
async function failure(url: string) {
  const error = await errorOf(async () => {
    const source = await openSource(url, FAST)
    await source.read(MIB, MIB)
  })
  return { error, message: error.message.replace(server.origin, '') }
}

test('ranges are those of the file, whatever their size', async () => {
  const source = await openSource(put('/good'), FAST)
  assert.is(source.byteLength, bytes.length)
  for (const [offset, length] of [
    [0, 9],
    [7, 0],
    [262140, 8],
    [262144, 65536],
    [bytes.length - 3, 3],
    [bytes.length, 0],
    [100, 2 * MIB],
    [0, bytes.length],
  ] as const) {
    const found = await source.read(offset, length)
    assert.ok(Buffer.compare(found, bytes.subarray(offset, offset + length)) === 0, `${offset}+${length}`)
  }
  assert.match((await errorOf(source.read(bytes.length, 1))).message, /are wanted, but the file has/)
  await source.close()
})

test('large reads are several requests at once', async () => {
  const large = new Uint8Array(20 * MIB + 1).map((_, i) => (i >> 10) & 255)
  let [open, most] = [0, 0]
  const url = put(
    '/large',
    (_request, response) => {
      most = Math.max(most, ++open)
      response.on('close', () => open--)
      return false
    },
    large,
  )
  assert.ok(Buffer.compare(await readAll(url), large) === 0)
  assert.ok(most > 1)
  assert.equal(server.log.filter(line => line.startsWith('/large')).sort(), [
    '/large bytes=0-262143',
    '/large bytes=0-8388607',
    '/large bytes=16777216-20971520',
    '/large bytes=8388608-16777215',
  ])
})

test('many small reads are few requests, also at the same time', async () => {
  const source = await openSource(put('/small'), FAST)
  const before = server.log.length
  await Promise.all(Array.from({ length: 500 }, (_, i) => source.read(MIB + i * 8, 8)))
  // The block, and what is read ahead.
  assert.ok(server.log.length - before <= 3, server.log.slice(before).join())
  for (let at = 0; at < bytes.length - 1000; at += 1000) await source.read(at, 1000)
  // 13 blocks, of which the first came with the opening, in requests of one to eight.
  assert.ok(server.log.length - before <= 8, server.log.slice(before).join())
  await source.close()
})

test('reads in a row come ahead of time, and none of them twice', async () => {
  const source = await openSource(put('/row'), FAST)
  const step = 200_000
  for (let at = 0; at < bytes.length; at += step) {
    const length = Math.min(step, bytes.length - at)
    assert.ok(Buffer.compare(await source.read(at, length), bytes.subarray(at, at + length)) === 0)
  }
  await source.close()
  const ranges = server.log
    .filter(line => line.startsWith('/row '))
    .map(line => /=(\d+)-(\d+)/.exec(line)!.slice(1).map(Number) as [number, number])
    .sort(([a], [b]) => a - b)
  assert.ok(ranges.length <= 7, server.log.join())
  for (const [i, [first]] of ranges.entries()) assert.is(first, i === 0 ? 0 : ranges[i - 1]![1] + 1)
})

test('with hundreds of files open, blocks of all have room, and reads stay right', async () => {
  const sources = await Promise.all(Array.from({ length: 300 }, () => openSource(put('/many'))))
  const before = server.log.length
  for (const at of [MIB, MIB + 100_000, MIB + 200_000]) {
    for (const source of sources)
      assert.ok(Buffer.compare(await source.read(at, 100_000), bytes.subarray(at, at + 100_000)) === 0)
  }
  // Nothing is read ahead that could be pushed out before it is used.
  assert.is(server.log.length - before, 900)
  await Promise.all(sources.map(source => source.close()))
})

test('an empty file, and a server without ranges', async () => {
  assert.equal([...(await readAll(put('/empty', undefined, new Uint8Array(0))))], [])
  const whole: Behaviour = (_request, response) => {
    response.writeHead(200, { 'content-length': bytes.length }).end(bytes)
    return true
  }
  assert.ok(Buffer.compare(await readAll(put('/whole', whole)), bytes) === 0)
  const chunked: Behaviour = (_request, response) => {
    response.writeHead(200).end(bytes)
    return true
  }
  assert.ok(Buffer.compare(await readAll(put('/chunked', chunked)), bytes) === 0)
  const { error, message } = await failure(
    put('/huge', (_request, response) => {
      response.writeHead(200, { 'content-length': 65 * MIB }).write('x')
      return true
    }),
  )
  assert.instance(error, UnsupportedError)
  assert.is(
    message,
    'read /huge: the server does not give parts of files, and this one is longer than 64 MiB',
  )
  assert.match(error.cure!, /download the file/)
})

/** Fails so often, then serves the file. */
const fails =
  (times: number, status: number, headers = {}): Behaviour =>
  (_request, response, count) => {
    if (count > times) return false
    response.writeHead(status, headers).end('no')
    return true
  }

test('what fails for a moment is tried again', async () => {
  const short: Behaviour = (_request, response, count) => {
    if (count > 1) return false
    response.writeHead(206, { 'content-range': `bytes 0-262143/${bytes.length}` }).end(bytes.subarray(0, 9))
    return true
  }
  const cut: Behaviour = (_request, response, count) => {
    if (count > 1) return false
    response.writeHead(206, { 'content-range': `bytes 0-262143/${bytes.length}`, 'content-length': 262144 })
    response.write(bytes.subarray(0, 9), () => response.destroy())
    return true
  }
  const never: Behaviour = (_request, _response, count) => count === 1
  for (const [path, behaviour] of [
    ['/503', fails(2, 503)],
    ['/429', fails(1, 429, { 'retry-after': '0' })],
    ['/429-date', fails(1, 429, { 'retry-after': new Date().toUTCString() })],
    ['/429-long', fails(1, 429, { 'retry-after': '100000' })],
    ['/short', short],
    ['/cut', cut],
    ['/never', never],
  ] as const) {
    assert.ok(Buffer.compare(await readAll(put(path, behaviour)), bytes) === 0, path)
    assert.ok(server.log.filter(line => line.startsWith(`${path} `)).length >= 3, path)
  }
})

test('what does not go away is told once, with the number of attempts', async () => {
  const always = Number.POSITIVE_INFINITY
  const drip: Behaviour = (_request, response) => {
    response.writeHead(206, { 'content-range': `bytes 0-262143/${bytes.length}` })
    const timer = setInterval(() => response.write('x'), 20)
    response.on('close', () => {
      clearInterval(timer)
    })
    return true
  }
  for (const [path, behaviour, message] of [
    ['/500', fails(always, 500), 'read /500: the server answers 500 (6 attempts)'],
    ['/drip', drip, 'read /drip: no complete answer came within 0.3 s (6 attempts)'],
  ] as const) {
    const failed = await failure(put(path, behaviour))
    assert.is(failed.message, message)
    assert.instance(failed.error, EnvironmentError)
  }
  const closed = await startServer()
  await closed.close()
  const error = await errorOf(openSource(`${closed.origin}/x?secret`, FAST))
  assert.match(error.message, /^read http:\/\/127\.0\.0\.1:\d+\/x: connect ECONNREFUSED .* \(6 attempts\)$/)
  assert.instance(error, EnvironmentError)
})

test('statuses have their words and a cure', async () => {
  for (const [status, words] of [
    [401, 'the server asks who you are (401)'],
    [403, 'the server denies access (403)'],
    [404, 'there is no such file (404)'],
    [410, 'the file is gone (410)'],
    [416, 'the server has no bytes to read (416)'],
    [418, 'the server refuses (418)'],
  ] as const) {
    const path = `/status-${status}`
    const failed = await failure(put(path, fails(9, status)))
    assert.is(failed.message, `read ${path}: ${words}`)
    assert.instance(failed.error, InputError)
    assert.ok(failed.error.cure)
    assert.is(server.log.filter(line => line.startsWith(`${path} `)).length, 1)
  }
})

test('a file that changes while it is read is refused', async () => {
  const replaced = 'the file was replaced by another while it was read'
  const after =
    (change: Behaviour): Behaviour =>
    (request, response, count) =>
      count > 1 && change(request, response, count)
  for (const [path, behaviour] of [
    // A server that heeds If-Range sends all of the new file, one that does not a part of it.
    ['/if-range', after((request, response) => sendFile(other, request, response))],
    [
      '/etag',
      after((request, response) => {
        delete request.headers['if-range']
        return sendFile(bytes, request, response, '"new"')
      }),
    ],
    [
      '/longer',
      (request, response, count) => {
        const content = count > 1 ? new Uint8Array(bytes.length + 1) : bytes
        return sendFile(content, request, response, 'W/"weak"')
      },
    ],
    ['/shorter', after(fails(9, 416))],
  ] as [string, Behaviour][]) {
    const failed = await failure(put(path, behaviour))
    assert.is(failed.message, `read ${path}: ${replaced}`)
    assert.instance(failed.error, InputError)
  }
})

test('an answer that is not what was asked for is refused', async () => {
  const answer =
    (headers: Record<string, string>, status = 206, body = bytes.subarray(0, MIB)): Behaviour =>
    (_request, response, count) => {
      if (count === 1) return false
      response.writeHead(status, headers).end(body)
      return true
    }
  const range = `bytes ${MIB}-${2 * MIB - 1}/${bytes.length}`
  for (const [path, behaviour, message] of [
    [
      '/elsewhere',
      answer({ 'content-range': `bytes 0-${MIB - 1}/${bytes.length}` }),
      /expected bytes 1048576 to 2097151, the server sends 0 to 1048575$/,
    ],
    ['/unsaid', answer({}), /expected a Content-Range with the file's length, found none$/],
    ['/star', answer({ 'content-range': `bytes ${MIB}-${2 * MIB - 1}/*` }), /found "bytes .*\/\*"$/],
    [
      '/gzip',
      answer({ 'content-range': range, 'content-encoding': 'x' }),
      /expected plain bytes, .* sends x$/,
    ],
    [
      '/more',
      answer({ 'content-range': range }, 206, bytes),
      /expected 1048576 bytes, the server sends more$/,
    ],
    ['/all', answer({}, 200), /sends the whole file where a part was asked for$/],
  ] as const) {
    const failed = await failure(put(path, behaviour))
    assert.match(failed.message, message)
    assert.instance(failed.error, InputError)
  }
})

test('the stamp of a file is its length and version', async () => {
  const stamp = await stampFiles([put('/stamp')])
  assert.is(stamp.bytes, bytes.length)
  assert.equal(await stampFiles([put('/stamp')]), stamp)
  assert.is(server.log.at(-1), '/stamp bytes=0-0')
  const next = await stampFiles([put('/stamp', undefined, other)])
  assert.is(next.bytes, bytes.length)
  assert.is.not(next.modified, stamp.modified)
})

test('other schemes are refused', async () => {
  for (const url of ['file:///etc/passwd', 'ftp://me:secret@host/x?secret', 'data://x', 'S4://x/y']) {
    const error = await errorOf(openSource(url))
    assert.instance(error, UsageError)
    assert.match(error.message, /^read [^?@]*: expected a path, https:\/\/, http:\/\/ or s3:\/\/$/)
    assert.not.match(error.message, 'secret')
  }
  for (const url of ['https://', 'http://[x/y?secret', 'http://me:secret@h:99999/y']) {
    const error = await errorOf(openSource(url))
    assert.match(error.message, /^read [^?@]*: this is no valid URL$/)
    assert.not.match(error.message, 'secret')
  }
})

test.run()
