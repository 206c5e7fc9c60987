/** HTTP by hand: bytes over a socket as they are written, and what comes back, read without a client's leniency. */

import { connect, type Socket } from 'node:net'

export interface RawAnswer {
  readonly status: number
  /** Names in small letters. */
  readonly headers: ReadonlyMap<string, string>
  readonly body: Buffer
}

export type Outcome =
  | { readonly kind: 'answered'; readonly answers: readonly RawAnswer[] }
  /** Without a word. */
  | { readonly kind: 'closed' }
  | { readonly kind: 'hung' }

const CRLF2 = Buffer.from('\r\n\r\n')

/** The first whole answer in `bytes` and how long it is; null while it is not all there. 1xx answers are passed over; one that is not HTTP has status 0. */
export function parseAnswer(
  bytes: Buffer,
  closed: boolean,
  bodiless = false,
): { answer: RawAnswer; length: number } | null {
  const end = bytes.indexOf(CRLF2)
  if (end < 0) return null
  const [first = '', ...lines] = bytes.subarray(0, end).toString('latin1').split('\r\n')
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(first)?.[1] ?? 0)
  const at = end + 4
  if (status >= 100 && status < 200) {
    const later = parseAnswer(bytes.subarray(at), closed, bodiless)
    return later && { answer: later.answer, length: at + later.length }
  }
  const headers = new Map(
    lines.map(line => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const
    }),
  )
  if (bodiless || status === 204 || status === 304) {
    return { answer: { status, headers, body: Buffer.alloc(0) }, length: at }
  }
  const declared = headers.get('content-length')
  if (headers.get('transfer-encoding') === 'chunked') {
    const chunked = parseChunks(bytes, at)
    return chunked && { answer: { status, headers, body: chunked.body }, length: chunked.end }
  }
  const stop = declared === undefined ? (closed ? bytes.length : Infinity) : at + Number(declared)
  return bytes.length < stop
    ? null
    : { answer: { status, headers, body: bytes.subarray(at, stop) }, length: stop }
}

function parseChunks(bytes: Buffer, start: number): { body: Buffer; end: number } | null {
  const parts: Buffer[] = []
  for (let at = start; ;) {
    const line = bytes.indexOf('\r\n', at)
    if (line < 0) return null
    const size = parseInt(bytes.subarray(at, line).toString('latin1'), 16)
    const end = line + 2 + size + 2
    if (bytes.length < end) return null
    if (size === 0) return { body: Buffer.concat(parts), end }
    parts.push(bytes.subarray(line + 2, end - 2))
    at = end
  }
}

export interface ExchangeOptions {
  /** Answers to wait for; default: one. */
  readonly answers?: number
  /** Milliseconds after which it counts as hung. */
  readonly limitMs?: number
  /** The answer to HEAD has no body. */
  readonly bodiless?: boolean
}

/** What is sent: bytes, or something that writes to the socket by itself. */
export type Sent = string | Uint8Array | ((socket: Socket) => Promise<void>)

export function bytesOf(sent: string | Uint8Array): Buffer {
  return typeof sent === 'string' ? Buffer.from(sent, 'latin1') : Buffer.from(sent)
}

/** Sends, reads until the answers are there, and hangs up. */
export function exchange(port: number, sent: Sent, options: ExchangeOptions = {}): Promise<Outcome> {
  const { answers: wanted = 1, limitMs = 5000, bodiless = false } = options
  return new Promise(resolve => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true })
    let bytes = Buffer.alloc(0)
    const answers: RawAnswer[] = []
    const timer = setTimeout(() => finish({ kind: 'hung' }), limitMs)
    const finish = (outcome: Outcome) => {
      clearTimeout(timer)
      socket.destroy()
      resolve(outcome)
    }
    const read = (closed: boolean) => {
      for (let found; (found = parseAnswer(bytes, closed, bodiless)) !== null;) {
        answers.push(found.answer)
        bytes = bytes.subarray(found.length)
        if (answers.length === wanted) return true
      }
      return false
    }
    socket.on('data', chunk => {
      bytes = bytes.length === 0 ? chunk : Buffer.concat([bytes, chunk])
      if (read(false)) finish({ kind: 'answered', answers })
    })
    // A server that closes while we still send shows as a reset: the same as a close.
    socket.on('error', () => undefined)
    socket.on('close', () => {
      read(true)
      finish(answers.length > 0 ? { kind: 'answered', answers } : { kind: 'closed' })
    })
    socket.once('connect', () => {
      if (typeof sent === 'function') sent(socket).catch(() => undefined)
      else socket.write(bytesOf(sent))
    })
  })
}

/** The one answer to a request that must have one. */
export async function ask(port: number, sent: Sent, options: ExchangeOptions = {}): Promise<RawAnswer> {
  const outcome = await exchange(port, sent, options)
  if (outcome.kind !== 'answered') throw new Error(`expected an answer, the connection ${outcome.kind}`)
  return outcome.answers[0]!
}

/** A request; `Content-Length` is that of the body unless the headers say otherwise. */
export function post(
  path: string,
  body: string | Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): Buffer {
  const bytes = typeof body === 'string' ? Buffer.from(body) : body
  const all = { Host: 'localhost', 'Content-Length': String(bytes.byteLength), ...headers }
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}`)
  return Buffer.concat([bytesOf(`POST ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`), bytes])
}

export function get(path: string, headers: Readonly<Record<string, string>> = {}, verb = 'GET'): Buffer {
  const lines = Object.entries({ Host: 'localhost', ...headers }).map(([name, value]) => `${name}: ${value}`)
  return bytesOf(`${verb} ${path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`)
}
