/** Requests of a soak: sound ones whose answers are known to the last bit or so, and hostile ones. */

import { Agent, request } from 'node:http'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import { decodeResponse, encodeRequest } from '../../src/serve/client/client.ts'
import type { ClientTensor } from '../../src/serve/client/tensor.ts'

export interface Case {
  readonly model: string
  readonly inputs: Readonly<Record<string, ClientTensor>>
  /** What is wrong with an answer; null: nothing. */
  readonly check: (output: Float32Array, version: string) => string | null
}

export interface Counts {
  sent: number
  answered: number
  /** Declared: 503 with Retry-After. */
  refused: number
  failed: number
  wrong: number
  hostile: number
  hostileWrong: number
  readonly latencies: number[]
  readonly problems: string[]
}

export function newCounts(): Counts {
  return {
    ...{ sent: 0, answered: 0, refused: 0, failed: 0, wrong: 0, hostile: 0, hostileWrong: 0 },
    ...{ latencies: [], problems: [] },
  }
}

const agent = new Agent({ keepAlive: true, maxSockets: 64 })

/** Sends one sound request and counts what becomes of it. */
export async function sendSound(url: string, { model, inputs, check }: Case, counts: Counts): Promise<void> {
  counts.sent++
  const started = performance.now()
  try {
    const { status, headers, body } = await post(url, model, inputs)
    if (status === 503 && headers['retry-after']) counts.refused++
    else if (status !== 200) fail(counts, 'failed', `${model}: ${status} ${String(body)}`)
    else {
      counts.answered++
      counts.latencies.push(performance.now() - started)
      const header = headers['inference-header-content-length'] as string
      const { version, outputs } = decodeResponse(body, header)
      const problem = check(Object.values(outputs)[0]!.data as Float32Array, version!)
      if (problem !== null) fail(counts, 'wrong', `${model}: ${problem}`)
    }
  } catch (error) {
    fail(counts, 'failed', `${model}: ${String(error)}`)
  }
}

function fail(counts: Counts, kind: 'failed' | 'wrong' | 'hostileWrong', problem: string): void {
  counts[kind]++
  if (counts.problems.length < 20) counts.problems.push(problem)
}

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
}

function post(url: string, model: string, inputs: Case['inputs']): Promise<Answer> {
  const { header, body } = encodeRequest(inputs)
  return new Promise((resolve, reject) => {
    const sending = request(
      `${url}v2/models/${model}/infer`,
      {
        ...{ agent, method: 'POST' },
        headers: { 'Content-Length': body.byteLength, 'Inference-Header-Content-Length': header },
      },
      response => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.on('error', reject)
        response.on('end', () => {
          resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks) })
        })
      },
    )
    sending.on('error', reject)
    sending.end(body)
  })
}

const HEAD = 'HTTP/1.1\r\nHost: soak\r\n'
const bomb = gzipSync(Buffer.alloc(100 * 2 ** 20))

/** What is written to a socket, and whether the client leaves without reading. */
interface Attack {
  readonly bytes: Buffer
  readonly leaves?: boolean
}

const withBody = (line: string, body: string | Buffer, headers = ''): Buffer =>
  Buffer.concat([
    Buffer.from(`${line} ${HEAD}${headers}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n`),
    Buffer.from(body),
  ])

const INFER = 'POST /v2/models/scaled/infer'

const ATTACKS: readonly Attack[] = [
  { bytes: withBody(INFER, '{"inputs":[') },
  { bytes: withBody(INFER, `{"inputs":[{"name":"x","data":${'['.repeat(100_000)}`) },
  { bytes: withBody(INFER, '{"inputs":[{"name":"x","datatype":"FP32","shape":[1e9,1e9],"data":[1]}]}') },
  { bytes: withBody(INFER, '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,8],"data":[1]}]}') },
  { bytes: withBody(INFER, Buffer.from([0xff, 0xfe, 0x00])) },
  { bytes: withBody(INFER, bomb, 'Content-Encoding: gzip\r\n') },
  { bytes: withBody(INFER, bomb.subarray(0, 1000), 'Content-Encoding: gzip\r\n') },
  { bytes: withBody(INFER, '{}', 'Inference-Header-Content-Length: 99999\r\n') },
  { bytes: withBody('POST /v2/models/..%2f..%2fetc%2fpasswd/infer', '{}') },
  { bytes: withBody('POST /v2/models/scaled/versions/999/infer', '{}') },
  { bytes: withBody('DELETE /v2/models/scaled', '') },
  { bytes: withBody('POST /v2/repository/models/scaled/unload', '{}') },
  { bytes: Buffer.from('GARBAGE\r\n\r\n') },
  { bytes: Buffer.from(`${INFER} ${HEAD}X: ${'x'.repeat(100_000)}\r\n\r\n`) },
  { bytes: Buffer.from(`${INFER} ${HEAD}Content-Length: 99999999999\r\n\r\n`) },
  {
    bytes: Buffer.from(
      `${INFER} ${HEAD}Transfer-Encoding: chunked\r\n\r\n${'1\r\n[\r\n'.repeat(20_000)}0\r\n\r\n`,
    ),
  },
  { bytes: Buffer.from(`${INFER} ${HEAD}Content-Length: 600000\r\n\r\n{"inputs":`), leaves: true },
  {
    bytes: withBody(
      INFER,
      '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,8],"data":[1,2,3,4,5,6,7,8]}]}',
    ),
    leaves: true,
  },
]

/** Sends one attack: it must be answered with 4xx or 503, or the connection closed, within ten seconds. */
export function sendHostile(url: string, index: number, counts: Counts): Promise<void> {
  const { bytes, leaves = false } = ATTACKS[index % ATTACKS.length]!
  const { hostname, port } = new URL(url)
  counts.hostile++
  return new Promise(resolve => {
    const socket = connect(Number(port), hostname)
    let answer = ''
    const done = (problem: string | null) => {
      clearTimeout(timer)
      socket.destroy()
      if (problem !== null) fail(counts, 'hostileWrong', `attack ${index % ATTACKS.length}: ${problem}`)
      resolve()
    }
    const timer = setTimeout(() => done('no answer within 10 s'), 10_000)
    socket.on('data', chunk => {
      answer += String(chunk)
      const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1] ?? 0)
      done(status === 503 || (status >= 400 && status < 500) ? null : `status ${status}`)
    })
    // A connection that is closed under what we still send is an answer too.
    socket.on('error', () => done(null))
    socket.on('close', () => done(null))
    socket.write(bytes, () => {
      if (leaves) done(null)
    })
  })
}
