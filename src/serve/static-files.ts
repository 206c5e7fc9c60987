/** Serves one folder of static files on this machine, with the headers that give a page WebAssembly threads. */

import { createReadStream } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { extname, join, sep } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { EnvironmentError, InputError, messageOf } from '../util/errors.ts'

/** By the end of a file's name. */
export const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.map': 'application/json',
  '.txt': 'text/plain; charset=utf-8',
  '.wasm': 'application/wasm',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.onnx': 'application/octet-stream',
  // Packed data, not an encoding of the transfer: the page unpacks it.
  '.gz': 'application/gzip',
}

/**
 * The first two make the page cross-origin isolated. The policy lets it, and its workers, reach this server only:
 * what a person loads into the page cannot leave it.
 */
export const HEADERS: Readonly<Record<string, string>> = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Content-Security-Policy': [
    "default-src 'none'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "style-src 'self'",
    "img-src 'self' blob: data:",
    "connect-src 'self'",
    "worker-src 'self' blob:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cache-Control': 'no-cache',
}

export interface StaticServer {
  /** `http://127.0.0.1:8080/`. */
  readonly url: string
  close(): Promise<void>
}

/** Serves `folder` on 127.0.0.1; `port` 0 takes a free one. */
export async function serveStatic(folder: string, port: number): Promise<StaticServer> {
  const root = await realpath(folder).catch((error: unknown) => {
    throw new InputError(`serve ${folder}: ${messageOf(error)}`, { cause: error })
  })
  const server = createServer((request, response) => {
    answer(root, request, response).catch((error: unknown) => {
      if (!response.headersSent) response.writeHead(500, HEADERS)
      response.end(messageOf(error))
    })
  })
  const bound = await listen(server, port)
  return {
    url: `http://127.0.0.1:${bound}/`,
    close: () =>
      new Promise((resolve, reject) => {
        server.close(error => (error ? reject(error) : resolve()))
        server.closeAllConnections()
      }),
  }
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', error => {
      reject(
        new EnvironmentError(`serve: cannot listen on 127.0.0.1:${port}: ${messageOf(error)}`, {
          cause: error,
          cure: 'choose another --port; 0 takes a free one',
        }),
      )
    })
    server.listen(port, '127.0.0.1', () => {
      const address = server.address()
      resolve(typeof address === 'object' && address ? address.port : port)
    })
  })
}

async function answer(root: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { ...HEADERS, Allow: 'GET, HEAD' }).end('only GET and HEAD')
    return
  }
  // A page of another site that reaches this server by a name of its own (DNS rebinding) gets nothing.
  if (!/^(127\.0\.0\.1|localhost)(:\d+)?$/.test(request.headers.host ?? '')) {
    response.writeHead(403, HEADERS).end('only 127.0.0.1 and localhost')
    return
  }
  const path = await findFile(root, request.url ?? '/')
  if (path === null) {
    response.writeHead(404, { ...HEADERS, 'Content-Type': 'text/plain; charset=utf-8' }).end('not found')
    return
  }
  const { size } = await stat(path)
  const type = TYPES[extname(path)] ?? 'application/octet-stream'
  response.writeHead(200, { ...HEADERS, 'Content-Type': type, 'Content-Length': size })
  if (request.method === 'HEAD') response.end()
  // A browser that leaves early is no error.
  else await pipeline(createReadStream(path), response).catch(() => undefined)
}

/** The file that a URL names; null for what is not there, is no plain file or lies outside the folder, links followed. */
export async function findFile(root: string, url: string): Promise<string | null> {
  let name: string
  try {
    name = decodeURIComponent(url.replace(/[?#].*$/s, ''))
  } catch {
    return null
  }
  if (!name.startsWith('/') || name.includes('\0') || name.includes('\\')) return null
  if (name.split('/').some(part => part === '..')) return null
  const wanted = join(root, name.endsWith('/') ? `${name}index.html` : name)
  const path = await realpath(wanted).catch(() => null)
  if (path === null || !path.startsWith(root + sep)) return null
  return (await stat(path)).isFile() ? path : null
}
