/** Clients that are slow, that flood, that never end, and that leave before they have what they asked for. */

import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { ATTACKED_LIMITS } from './attacked-server.ts'
import { SUM, type HostileCase } from './hostile-case.ts'
import { GOOD } from './hostile-json.ts'
import { get, post } from './raw-http.ts'

const BODY = Buffer.from(JSON.stringify(GOOD))
const CHUNKED = `POST ${SUM} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n`

async function write(socket: Socket, bytes: string | Uint8Array): Promise<void> {
  if (socket.destroyed) throw new Error('closed')
  if (socket.write(bytes)) return
  await new Promise<void>(resolve => {
    const go = () => {
      socket.off('drain', go).off('close', go)
      resolve()
    }
    socket.once('drain', go).once('close', go)
  })
}

/** Pieces with a pause before each, until the server has enough of it. */
function slowly(name: string, pieces: () => Iterable<string | Uint8Array>, pauseMs: number): HostileCase {
  const sent = async (socket: Socket) => {
    for (const piece of pieces()) {
      await write(socket, piece)
      await sleep(pauseMs)
    }
  }
  return { name, sent, end: 'refused' }
}

function* forever(first: string, piece: string): Generator<string> {
  yield first
  for (;;) yield piece
}

/** The server's limits of time: 0.8 s for headers and 1.5 s for a request. */
export function slowClients(): HostileCase[] {
  const head = `POST ${SUM} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n`
  return [
    slowly('nothing at all', () => [''], 10),
    slowly('a request line that does not end', () => forever('GET /', 'a'), 100),
    slowly('headers that do not end', () => forever('GET /v2 HTTP/1.1\r\n', 'X: y\r\n'), 100),
    slowly('headers, and no body', () => [`${head}\r\n`], 10),
    slowly('a body byte by byte', () => forever(`${head}\r\n`, ' '), 50),
    slowly('chunks one by one', () => forever(CHUNKED, '1\r\n \r\n'), 50),
    slowly('a chunk size that does not end', () => forever(CHUNKED, '0'), 50),
    slowly(
      'a body that GET does not want',
      () => forever('GET /v2/models/none HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n', ' '),
      50,
    ),
    slowly(
      'a body nobody wants',
      () => forever('POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n', ' '),
      50,
    ),
    slowly('a packed body byte by byte', () => forever(`${head}Content-Encoding: gzip\r\n\r\n`, '\x1f'), 50),
  ]
}

/** As fast as the server reads. */
function flood(name: string, first: string, piece: string | Uint8Array): HostileCase {
  const sent = async (socket: Socket) => {
    await write(socket, first)
    for (;;) await write(socket, piece)
  }
  return { name, sent, end: 'refused' }
}

export function floods(): HostileCase[] {
  const tiny = BODY.toString('latin1').replace(/[^]/g, character => `1\r\n${character}\r\n`)
  const blanks = '1\r\n \r\n'.repeat(60_000)
  return [
    {
      name: 'a body in chunks of a byte',
      sent: Buffer.from(`${CHUNKED}${tiny}0\r\n\r\n`, 'latin1'),
      end: 200,
    },
    {
      name: '60 000 blanks in chunks',
      sent: Buffer.from(`${CHUNKED}${blanks}${tiny}0\r\n\r\n`, 'latin1'),
      end: 200,
    },
    { name: '60 000 blanks and no request', sent: `${CHUNKED}${blanks}0\r\n\r\n`, end: 400 },
    flood('chunks of six bytes without end', CHUNKED, '6\r\n      \r\n'.repeat(1000)),
    flood('chunks with extensions without end', CHUNKED, `1;a=${'b'.repeat(1000)}\r\n \r\n`.repeat(10)),
    flood('chunks of a megabyte without end', CHUNKED, `100000\r\n${' '.repeat(2 ** 20)}\r\n`),
    flood(
      'a body without end where GET wants none',
      get('/v2', { 'Transfer-Encoding': 'chunked' }).toString(),
      `10000\r\n${' '.repeat(65_536)}\r\n`,
    ),
    flood(
      'a body without end for nobody',
      CHUNKED.replace(SUM, '/none'),
      `10000\r\n${' '.repeat(65_536)}\r\n`,
    ),
    flood(
      'a body without end for a wrong verb',
      CHUNKED.replace('POST', 'PUT'),
      `10000\r\n${' '.repeat(65_536)}\r\n`,
    ),
    flood(
      'a body without end for load',
      CHUNKED.replace(SUM, '/v2/repository/models/sum/load'),
      `10000\r\n${' '.repeat(65_536)}\r\n`,
    ),
    flood('a header without end', 'GET /v2 HTTP/1.1\r\nX: ', 'x'.repeat(65_536)),
    flood('random bytes without end', '', Buffer.alloc(65_536, 0xa7)),
    flood('line feeds without end', '', '\r\n'.repeat(10_000)),
    flood(
      'a Content-Length that is exceeded',
      post(SUM, BODY, { Connection: 'close' }).toString('latin1'),
      ' '.repeat(65_536),
    ),
  ].map(row => (/GET wants none|is exceeded/.test(row.name) ? { ...row, end: 'any' as const } : row))
}

async function leave(
  port: number,
  bytes: Uint8Array,
  afterMs: number | 'answer',
  reset: boolean,
): Promise<void> {
  const socket = connect({ host: '127.0.0.1', port })
  socket.on('error', () => undefined)
  await new Promise<void>(resolve => {
    socket.once('close', resolve)
    if (afterMs === 'answer') socket.once('data', () => resolve())
    else socket.pause()
    socket.write(bytes, () => {
      if (afterMs !== 'answer') setTimeout(resolve, afterMs)
    })
  })
  if (reset) socket.resetAndDestroy()
  else socket.destroy()
}

/** A megabyte of FP32, asked for back: as JSON, binary or packed. */
export function megabyte(headers: Readonly<Record<string, string>> = {}, binary = true): Buffer {
  const tensor = Buffer.alloc(2 ** 20)
  const json = JSON.stringify({
    inputs: [
      { name: 'x', shape: [64, 4096], datatype: 'FP32', parameters: { binary_data_size: tensor.length } },
    ],
    parameters: { binary_data_output: binary },
  })
  const body = Buffer.concat([Buffer.from(json), tensor])
  const packed = headers['Content-Encoding'] === 'gzip' ? gzipSync(body) : body
  return post('/v2/models/fp32/infer', packed, {
    'Inference-Header-Content-Length': String(json.length),
    ...headers,
  })
}

/** Clients that leave in mid-request, in mid-run and in mid-answer; many times what all bodies together may take. */
export async function leavingClients(port: number): Promise<number> {
  const whole = megabyte()
  const kinds: readonly Uint8Array[] = [
    ...[
      whole,
      whole.subarray(0, -1),
      whole.subarray(0, 600_000),
      whole.subarray(0, 200),
      whole.subarray(0, 20),
    ],
    ...[
      megabyte({}, false),
      megabyte({ 'Content-Encoding': 'gzip' }),
      megabyte({ 'Accept-Encoding': 'gzip' }),
    ],
    Buffer.concat([whole, whole, whole]),
    Buffer.concat([whole, whole.subarray(0, 500_000)]),
  ]
  const moments = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 'answer'] as const
  const rows = kinds.flatMap(bytes =>
    moments.flatMap(at => [true, false].map(reset => [bytes, at, reset] as const)),
  )
  const queue = [...rows]
  const worker = async () => {
    for (let row = queue.shift(); row !== undefined; row = queue.shift()) await leave(port, ...row)
  }
  await Promise.all(Array.from({ length: 6 }, worker))
  return rows.length
}

/** Connections that say that the largest body comes, and wait: `hangUp` ends them. */
export async function waitingClients(port: number, count: number): Promise<{ hangUp: () => void }> {
  const head = `POST ${SUM} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${ATTACKED_LIMITS.bodyBytes}\r\n\r\n`
  const sockets = Array.from({ length: count }, () => connect({ host: '127.0.0.1', port }))
  for (const socket of sockets) {
    socket.on('error', () => undefined)
    socket.write(head)
  }
  await sleep(200)
  return { hangUp: () => sockets.forEach(socket => socket.destroy()) }
}

/** Answers that nobody reads: many requests at once on one connection. */
export async function deafClient(port: number, requests: number): Promise<void> {
  const socket = connect({ host: '127.0.0.1', port })
  socket.on('error', () => undefined)
  socket.pause()
  socket.write(Buffer.concat(Array.from({ length: requests }, () => get('/openapi.json'))))
  await sleep(1000)
  socket.destroy()
}
