/** A web server in this process: files by range, and whatever servers do wrong. */

import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Answers a request instead of `serve`, or does nothing and returns false. */
export type Behaviour = (request: IncomingMessage, response: ServerResponse, count: number) => boolean

export interface TestServer {
  readonly origin: string
  /** Path -> bytes. */
  readonly files: Map<string, Uint8Array>
  /** Path -> what is done in place of, or before, serving its file. */
  readonly behaviours: Map<string, Behaviour>
  /** `<path> <range>` of each request. */
  readonly log: string[]
  /** Headers of each request. */
  readonly headers: IncomingMessage['headers'][]
  close(): Promise<void>
}

export async function startServer(): Promise<TestServer> {
  const files = new Map<string, Uint8Array>()
  const behaviours = new Map<string, Behaviour>()
  const log: string[] = []
  const headers: IncomingMessage['headers'][] = []
  const counts = new Map<string, number>()
  const server: Server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url!, 'http://x').pathname)
    log.push(`${path} ${request.headers.range ?? '-'}`)
    headers.push(request.headers)
    const count = (counts.get(path) ?? 0) + 1
    counts.set(path, count)
    if (behaviours.get(path)?.(request, response, count)) return
    const bytes = files.get(path)
    if (bytes) sendFile(bytes, request, response)
    else response.writeHead(404).end('<html>none</html>')
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ...{ files, behaviours, log, headers },
    close: () =>
      new Promise(resolve => {
        server.closeAllConnections()
        server.close(() => {
          resolve()
        })
      }),
  }
}

const etags = new WeakMap<Uint8Array, string>()

function etagOf(bytes: Uint8Array): string {
  const etag = etags.get(bytes) ?? `"${createHash('sha1').update(bytes).digest('hex')}"`
  etags.set(bytes, etag)
  return etag
}

/** What a good server does: ranges, an ETag, If-Range, If-Match. */
export function sendFile(
  bytes: Uint8Array,
  request: IncomingMessage,
  response: ServerResponse,
  etag = etagOf(bytes),
): boolean {
  const condition = request.headers['if-range']
  if ((request.headers['if-match'] ?? etag) !== etag) {
    response.writeHead(412).end()
    return true
  }
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '')
  if (!range || (condition !== undefined && condition !== etag)) {
    response.writeHead(200, { etag, 'content-length': bytes.length }).end(bytes)
    return true
  }
  const first = Number(range[1])
  const end = Math.min(bytes.length, Number(range[2]) + 1)
  if (first >= bytes.length) {
    response.writeHead(416, { etag, 'content-range': `bytes */${bytes.length}` }).end()
    return true
  }
  response
    .writeHead(206, {
      etag,
      'content-range': `bytes ${first}-${end - 1}/${bytes.length}`,
      'content-length': end - first,
    })
    .end(bytes.subarray(first, end))
  return true
}
