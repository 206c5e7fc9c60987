/** Requests that are wrong as HTTP: framing, verbs, headers, encodings. */

import { deflateRawSync, deflateSync, gzipSync, brotliCompressSync } from 'node:zlib'
import { Random } from '../../../src/util/random.ts'
import { ATTACKED_LIMITS } from './attacked-server.ts'
import { SUM, sumCase, type HostileCase } from './hostile-case.ts'
import { GOOD } from './hostile-json.ts'
import { bytesOf, get } from './raw-http.ts'

const BODY = JSON.stringify(GOOD)
const LENGTH = Buffer.byteLength(BODY)
const CHUNKED = `${LENGTH.toString(16)}\r\n${Buffer.from(BODY).toString('latin1')}\r\n0\r\n\r\n`

const raw = (name: string, lines: readonly string[], body: string, end: HostileCase['end']): HostileCase => ({
  name,
  sent: bytesOf(`${lines.join('\r\n')}\r\n\r\n${body}`),
  end,
})

const latin1 = Buffer.from(BODY).toString('latin1')
const start = [`POST ${SUM} HTTP/1.1`, 'Host: localhost']

/** Two readings of where a request ends, and what else is not quite HTTP. A second request must never be heard. */
export function framing(): HostileCase[] {
  const inner = `GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n`
  const headers: readonly (readonly string[])[] = [
    [`Content-Length: ${LENGTH}`, 'Transfer-Encoding: chunked'],
    ['Transfer-Encoding: chunked', `Content-Length: ${LENGTH}`],
    [`Content-Length: ${LENGTH}`, `Content-Length: ${LENGTH + 1}`],
    [`Content-Length: ${LENGTH}`, 'Content-Length: 0'],
    [`Content-Length: ${LENGTH}, ${LENGTH}`],
    [`Content-Length: +${LENGTH}`],
    [`Content-Length: -${LENGTH}`],
    [`Content-Length: ${LENGTH}.0`],
    ['Content-Length: 1e3'],
    ['Content-Length: 0x10'],
    ['Content-Length: abc'],
    ['Content-Length: 99999999999999999999999'],
    ['Content-Length: 18446744073709551616'],
    [`Content-Length : ${LENGTH}`],
    [`Content-Length:\r\n ${LENGTH}`],
    ['Transfer-Encoding: chunked, identity'],
    ['Transfer-Encoding: identity, chunked, identity'],
    ['Transfer-Encoding: gzip'],
    ['Transfer-Encoding: xchunked'],
    ['Transfer-Encoding : chunked'],
    ['Transfer-Encoding: "chunked"'],
    ['Transfer-Encoding:\tchunked\r\n ,identity'],
    ['X: a\r\n b: c', `Content-Length: ${LENGTH}`],
    ['no colon', `Content-Length: ${LENGTH}`],
    [': no name', `Content-Length: ${LENGTH}`],
    ['a b: c', `Content-Length: ${LENGTH}`],
    ['a\0b: c', `Content-Length: ${LENGTH}`],
    ['a: b\0c', `Content-Length: ${LENGTH}`],
    ['a: b\rc', `Content-Length: ${LENGTH}`],
    ['a: b\nContent-Length: 0', `Content-Length: ${LENGTH}`],
  ]
  const chunks = [
    ...[
      'x\r\n',
      '-1\r\n',
      '1g\r\nx\r\n',
      'ffffffffffffffffff\r\n',
      '5;a=b\nx\r\n',
      '\r\n',
      ' 5\r\nabcde\r\n',
    ],
    ...[
      '5\nabcde\n0\n\n',
      '2\r\nabc\r\n0\r\n\r\n',
      '0x5\r\nabcde\r\n',
      '+5\r\nabcde\r\n',
      `5;${'e'.repeat(20_000)}\r\n`,
    ],
    ...[
      '5\r\nabcdeX\r\n0\r\n\r\n',
      '5 \r\nabcde',
      '7fffffffffffffff\r\nx',
      `0\r\n${'a: b\r\n'.repeat(20_000)}\r\n`,
    ],
    '0\r\nContent-Length: 5\r\nX: y\r\n\r\n',
  ]
  const lines = [
    ...['GET', 'GET /v2 HTTP/1.2', 'GET /v2 HTTP/11', 'get /v2 HTTP/1.1'],
    ...[
      'GET /v2 HTTPS/1.1',
      '\x16\x03\x01\x02\x00\x01',
      'PRI * HTTP/2.0',
      ' GET /v2 HTTP/1.1',
      'GET\t/v2\tHTTP/1.1',
    ],
    ...[
      'GET /v2 HTTP/1.1 x',
      'FOO /v2 HTTP/1.1',
      'G\0T /v2 HTTP/1.1',
      'GET v2 HTTP/1.1',
      'GET /\x80 HTTP/1.1',
      '\0\0\0\0',
    ],
  ]
  return [
    ...headers.map(extra => ({
      ...raw(`headers ${JSON.stringify(extra)}`, [...start, ...extra], latin1 + inner, 'refused'),
      options: { answers: 2 },
    })),
    ...['GET /v2', 'GET  /v2 HTTP/1.1', 'GET /v2 HTTP/2.0'].map(line =>
      raw(`lenient request line ${line}`, [line, 'Host: localhost'], '', 'any'),
    ),
    raw('two hosts', [...start, 'Host: other', `Content-Length: ${LENGTH}`], latin1, 'any'),
    ...chunks.map((body, i) =>
      raw(
        `chunk ${i}: ${JSON.stringify(body.slice(0, 30))}`,
        [...start, 'Transfer-Encoding: chunked'],
        body,
        'refused',
      ),
    ),
    ...lines.map(line =>
      raw(`request line ${JSON.stringify(line)}`, [line, 'Host: localhost'], '', 'refused'),
    ),
    raw('no host', [`POST ${SUM} HTTP/1.1`, `Content-Length: ${LENGTH}`], latin1, 'refused'),
    raw(
      'HTTP/1.0 with chunks',
      [start[0]!.replace('1.1', '1.0'), 'Transfer-Encoding: chunked'],
      CHUNKED,
      'any',
    ),
    {
      ...raw(
        'a body on GET that is a request',
        ['GET /v2/health/live HTTP/1.1', 'Host: a', 'Connection: close', `Content-Length: ${inner.length}`],
        inner,
        'any',
      ),
      options: { answers: 2 },
    },
    raw(
      'an expectation that nobody has',
      [...start, 'Expect: 200-maybe', `Content-Length: ${LENGTH}`],
      latin1,
      'refused',
    ),
    raw(
      'an upgrade',
      ['GET /v2 HTTP/1.1', 'Host: a', 'Connection: Upgrade', 'Upgrade: websocket'],
      '',
      'any',
    ),
    raw(
      'an upgrade to HTTP/2',
      ['GET /v2 HTTP/1.1', 'Host: a', 'Connection: Upgrade', 'Upgrade: h2c'],
      '',
      'any',
    ),
  ]
}

/** Headers that are too many, too long, or mean somebody else's page. */
export function headers(): HostileCase[] {
  const long = (bytes: number) => 'x'.repeat(bytes)
  const origins: readonly Readonly<Record<string, string>>[] = [
    ...[
      'http://evil.example',
      'null',
      'https://localhost.evil.example',
      'file://',
      '',
      'http://localhost:1',
      '*',
    ].map(Origin => ({ Origin })),
    ...['cross-site', 'same-site', 'x', ''].map(site => ({ 'Sec-Fetch-Site': site })),
    ...[
      'evil.example',
      'localhost.evil.example',
      '127.0.0.1.evil.example',
      '127.0.0.1@evil.example',
      '[::2]',
      '',
    ].map(Host => ({ Host, Origin: `http://${Host}` })),
    { Host: 'evil.example', 'Sec-Fetch-Site': 'same-origin' },
    { Host: 'localhost evil', 'Sec-Fetch-Site': 'none' },
  ]
  return [
    ...[17_000, 100_000, 5_000_000].map((bytes): HostileCase => ({
      name: `a header of ${bytes} bytes`,
      sent: get('/v2', { X: long(bytes) }),
      end: 'refused',
    })),
    { name: 'a path of 100 kB', sent: get(`/${long(100_000)}`), end: 'refused' },
    { name: 'a header name of 20 kB', sent: get('/v2', { [long(20_000)]: '1' }), end: 'refused' },
    {
      name: '5000 headers',
      sent: get('/v2', Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`X-${i}`, '1']))),
      end: 'refused',
    },
    {
      name: '1500 headers of three bytes',
      sent: bytesOf(`GET /v2 HTTP/1.1\r\nHost: a\r\n${'a:b\r\n'.repeat(1500)}\r\n`),
      end: 'any',
    },
    ...origins.flatMap((extra): HostileCase[] => [
      { name: `GET with ${JSON.stringify(extra)}`, sent: get('/v2', extra), end: 403 },
      sumCase(`POST with ${JSON.stringify(extra)}`, BODY, 403, extra),
    ]),
    ...[
      'text/html',
      'multipart/form-data; boundary=x',
      'a/b/c',
      ';',
      'application/json; charset=utf-16',
      long(8000),
    ].map(type => sumCase(`Content-Type ${type.slice(0, 40)}`, BODY, 'any', { 'Content-Type': type })),
    ...['gzip;q=x', '*', 'identity;q=0', long(9000), ',,,,', 'constructor', '__proto__'].map(accepted =>
      sumCase(`Accept-Encoding ${accepted.slice(0, 40)}`, BODY, 'any', { 'Accept-Encoding': accepted }),
    ),
  ]
}

const ROUTES: readonly (readonly [path: string, verb: string])[] = [
  ...[
    '/v2',
    '/v2/health/live',
    '/v2/health/ready',
    '/v2/models/sum',
    '/v2/models/sum/ready',
    '/v2/models/sum/config',
  ].map(path => [path, 'GET'] as const),
  ...['/v2/models/sum/versions/1/stats', '/v2/models/stats', '/metrics', '/openapi.json', '/'].map(
    path => [path, 'GET'] as const,
  ),
  ...[SUM, '/v2/models/sum/versions/1/infer', '/v2/repository/index', '/v2/repository/models/sum/unload'].map(
    path => [path, 'POST'] as const,
  ),
]

/** Verbs that a path has not; GET implies HEAD. */
export function verbs(): HostileCase[] {
  const all = [
    'GET',
    'HEAD',
    'POST',
    'PUT',
    'PATCH',
    'DELETE',
    'OPTIONS',
    'TRACE',
    'CONNECT',
    'PROPFIND',
    'PURGE',
    'LINK',
  ]
  return ROUTES.flatMap(([path, allowed]) =>
    all
      .filter(verb => verb !== allowed && !(verb === 'HEAD' && allowed === 'GET'))
      .map((verb): HostileCase => ({
        name: `${verb} ${path}`,
        sent: get(path, {}, verb),
        end: 'refused',
        options: { bodiless: verb === 'HEAD' },
      })),
  )
}

/** Packed bodies that are damaged, unknown, or a thousand times as large as they look. */
export function encodings(seed: number): HostileCase[] {
  const body = Buffer.from(BODY)
  const [gzip, deflate] = [gzipSync(body), deflateSync(body)]
  const packed = (name: string, bytes: Uint8Array, encoding: string, end: HostileCase['end'] = 400) =>
    sumCase(`${encoding}: ${name}`, bytes, end, { 'Content-Encoding': encoding })
  const zeros = Buffer.alloc(40 * ATTACKED_LIMITS.bodyBytes)
  const blanks = Buffer.alloc(ATTACKED_LIMITS.bodyBytes + 1, ' ')
  const changed = (bytes: Buffer, at: number) => {
    const copy = Buffer.from(bytes)
    copy[(at + copy.length) % copy.length]! ^= 0x55
    return copy
  }
  // While others unpack, the server may have no memory left to try: then it is 503.
  const bombs = [zeros, blanks].flatMap(plain => [
    packed(`a bomb of ${plain.length}`, gzipSync(plain), 'gzip', 'refused'),
    packed(`a bomb of ${plain.length}`, deflateSync(plain), 'deflate', 'refused'),
    packed(`a bomb in a bomb of ${plain.length}`, gzipSync(gzipSync(plain)), 'gzip', 'refused'),
    packed(
      `members of ${plain.length}`,
      Buffer.concat(Array.from({ length: 50 }, () => gzipSync(plain.subarray(0, 1e6)))),
      'gzip',
      'refused',
    ),
  ])
  const random = Random.of(seed, 4)
  const damaged = Array.from({ length: 60 }, (_, i) => {
    const [encoding, bytes] = i % 2 ? (['gzip', gzip] as const) : (['deflate', deflate] as const)
    return packed(`cut, ${i} (seed ${seed})`, bytes.subarray(0, random.integer(bytes.length)), encoding)
  })
  return [
    ...bombs,
    ...damaged,
    ...[0, 1, 2, -1, -5, -8].map(at => packed(`byte ${at} changed`, changed(gzip, at), 'gzip')),
    ...[0, 1, -1, -4].map(at => packed(`byte ${at} changed`, changed(deflate, at), 'deflate')),
    packed('nothing', Buffer.alloc(0), 'gzip'),
    packed('not packed', body, 'gzip'),
    packed('not packed', body, 'deflate'),
    packed('the other one', gzip, 'deflate'),
    packed('the other one', deflate, 'gzip'),
    packed('raw', deflateRawSync(body), 'deflate'),
    ...[
      'br',
      'zstd',
      'compress',
      'x-gzip',
      'gzip, gzip',
      'gzip,identity',
      'constructor',
      '__proto__',
      'toString',
      '*',
      'identity, gzip',
      'valueOf',
    ].map(encoding => packed('unknown', gzip, encoding, 415)),
    packed('unknown', brotliCompressSync(body), 'br', 415),
    packed('unknown, and not packed', body, 'constructor', 415),
  ]
}
