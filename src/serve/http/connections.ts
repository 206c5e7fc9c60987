/**
 * The connections of a server, and their end: from then on every answer is the last of its connection, and what is on its
 * way in when the server closes is still answered.
 */

import {
  createServer,
  ServerResponse,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerOptions,
} from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { Socket } from 'node:net'
import type { TlsOptions } from './app.ts'

export class Connections {
  /** Those of TLS in their handshake too, of which an HTTP server knows nothing. */
  readonly #sockets = new Set<Socket>()
  readonly #graceMs: number
  #server: Server | null = null
  #leaving = false

  /** `graceMs`: how long connections without a request stay open while the server closes. */
  constructor(graceMs: number) {
    this.#graceMs = graceMs
  }

  /** A server whose connections these are. */
  serve(options: ServerOptions, tls: TlsOptions | null, handler: RequestListener): Server {
    const told = { ...options, ServerResponse: this.#responses() }
    const server = tls === null ? createServer(told, handler) : createTlsServer({ ...told, ...tls }, handler)
    server.on('connection', (socket: Socket) => {
      this.#sockets.add(socket)
      socket.once('close', () => this.#sockets.delete(socket))
    })
    const closeIdle = server.closeIdleConnections.bind(server)
    // Node calls it as soon as a server closes: a client that sends its next request just then would lose it.
    server.closeIdleConnections = () => {
      setTimeout(() => {
        closeIdle()
        for (const socket of this.#sockets) if (socket.bytesRead === 0) socket.destroy()
      }, this.#graceMs).unref()
    }
    this.#server = server
    return server
  }

  /** Tells clients from now on that their connection ends with the answer. */
  leave(): void {
    this.#leaving = true
  }

  /** Closes every connection, whatever it is used for. */
  closeAll(): void {
    this.#server?.closeAllConnections()
    for (const socket of this.#sockets) socket.destroy()
  }

  #responses(): typeof ServerResponse {
    const leaving = () => this.#leaving
    return class<R extends IncomingMessage> extends ServerResponse<R> {
      override writeHead(...head: [number, ...unknown[]]): this {
        if (leaving()) this.shouldKeepAlive = false
        return super.writeHead(...(head as Parameters<ServerResponse['writeHead']>))
      }
    }
  }
}
