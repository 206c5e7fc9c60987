/** The HTTP server: limits, access, errors and documents that all routes share. */

import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import swagger from '@fastify/swagger'
import fastify, {
  LogController,
  type ConnectionError,
  type FastifyBaseLogger,
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
} from 'fastify'
import { messageOf } from '../../util/errors.ts'
import { VERSION } from '../../util/version.ts'
import { invalid, ServeError } from '../protocol/errors.ts'
import { SHARED_SCHEMAS } from '../protocol/schemas.ts'
import { Auth, checkBrowser, checkHost, type Access, type AuthOptions, type HostNames } from './auth.ts'
import { isUnread } from './body.ts'
import type { Connections } from './connections.ts'
import type { HttpLimits } from './limits.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Default: user. */
    access?: Access
  }
}

export interface TlsOptions {
  readonly cert: Buffer
  readonly key: Buffer
}

export interface AppOptions extends AuthOptions {
  readonly limits: HttpLimits
  readonly tls: TlsOptions | null
  readonly connections: Connections
  readonly logger: FastifyBaseLogger
  /** Whether every request is logged. */
  readonly logRequests: boolean
  readonly hosts: HostNames
}

/** A server without routes. */
export async function makeApp(options: AppOptions): Promise<FastifyInstance> {
  const { limits, tls, connections } = options
  const node = {
    maxHeaderSize: limits.headersBytes,
    headersTimeout: Math.min(limits.headersMs, limits.requestMs),
    requestTimeout: limits.requestMs,
    connectionsCheckingInterval: Math.min(5000, Math.max(100, limits.requestMs / 4)),
    keepAliveTimeout: 75_000,
    noDelay: true,
  }
  const app: FastifyInstance = fastify({
    serverFactory: handler => connections.serve(node, tls, handler),
    loggerInstance: options.logger,
    logController: new LogController({ disableRequestLogging: !options.logRequests }),
    // What is kept alive is served until the end; only new connections are refused while the server stops.
    return503OnClosing: false,
    forceCloseConnections: false,
    genReqId: nextId,
    clientErrorHandler: refuseConnection,
    frameworkErrors: refusePath,
    routerOptions: { maxParamLength: 256, ignoreTrailingSlash: true },
  })
  app.server.maxConnections = limits.connections
  addParser(app)
  addAccess(app, options)
  addErrors(app)
  await addDocument(app)
  return app
}

let lastId = 0
const nextId = () => String((lastId = (lastId + 1) % 1e9))

/** Bodies are left to those who want them, whatever their type is called: Triton's own client names none. */
function addParser(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
  // Schemas document; what they say is checked where the bytes are understood.
  app.setValidatorCompiler(() => () => true)
  app.setSerializerCompiler(() => data => JSON.stringify(data))
}

function addAccess(app: FastifyInstance, options: AppOptions): void {
  const auth = new Auth(options)
  app.addHook('onRequest', (request, reply, done) => {
    void reply.header('X-Content-Type-Options', 'nosniff')
    // The router takes it for the path /.
    if (request.raw.url === '*') throw invalid('the path is not a valid URL')
    const page = request.method === 'GET' && request.routeOptions.url === '/'
    checkHost(request.headers, options.hosts)
    checkBrowser(request.headers, options.hosts, page)
    auth.check(request.routeOptions.config.access ?? 'user', request.headers)
    done()
  })
}

function addErrors(app: FastifyInstance): void {
  app.setNotFoundHandler({ preHandler: (_request, _reply, done) => done() }, (request, reply) => {
    if (isUnread(request.raw)) void reply.header('Connection', 'close')
    void reply.code(404).send({ error: 'Not Found' })
  })
  app.setErrorHandler((error, request, reply) => {
    const known = knownError(error)
    if (known === null) request.log.error({ err: error }, 'internal error')
    const { status, message, retryAfter } = known ?? new ServeError('internal', 'internal error')
    if (retryAfter !== null) void reply.header('Retry-After', String(retryAfter))
    if (status === 401) void reply.header('WWW-Authenticate', 'Bearer')
    if (isUnread(request.raw)) void reply.header('Connection', 'close')
    void reply.code(status).type('application/json').send({ error: message })
  })
}

/** A path that cannot be decoded, or too long a name in it. */
function refusePath({ statusCode }: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  if (isUnread(request.raw)) void reply.header('Connection', 'close')
  const error = statusCode === 414 ? 'the path is too long' : 'the path is not a valid URL'
  void reply.code(statusCode ?? 400).send({ error })
}

/** What is no request at all, or comes too slowly: answered by hand, for there is nothing to answer with. */
function refuseConnection(error: ConnectionError, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return
  const [status, message] = CONNECTION_ERRORS[error.code] ?? [400, 'the request is not valid HTTP']
  const body = JSON.stringify({ error: message })
  if (socket.writable) {
    socket.write(
      `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    )
  }
  socket.destroy(error)
}

const CONNECTION_ERRORS: Readonly<Record<string, readonly [status: number, message: string]>> = {
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'the request took too long to come in'],
  HPE_HEADER_OVERFLOW: [431, 'the headers of the request are too large'],
}

function knownError(error: unknown): ServeError | null {
  if (error instanceof ServeError) return error
  const { statusCode } = error as { statusCode?: number }
  return statusCode === undefined || statusCode >= 500 ? null : new ServeError('invalid', messageOf(error))
}

async function addDocument(app: FastifyInstance): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'swa-onnx serve',
        description: "Open Inference Protocol v2 with Triton's extensions.",
        version: VERSION,
      },
      components: {
        securitySchemes: { bearer: { type: 'http', scheme: 'bearer' } },
      },
    },
    refResolver: {
      buildLocalReference: (json, _base, _fragment, i) =>
        typeof json['$id'] === 'string' ? json['$id'] : `schema_${i}`,
    },
  })
  for (const schema of SHARED_SCHEMAS) app.addSchema(schema)
  app.get('/openapi.json', { schema: { hide: true }, config: { access: 'open' } }, () => app.swagger())
}

const VERBS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const

/** Answers 405 to the verbs of a path that have no route. Called after the path's routes. */
export function refuseOtherVerbs(app: FastifyInstance, url: string): void {
  const allowed = VERBS.filter(method => app.hasRoute({ method, url }))
  app.route({
    method: VERBS.filter(method => !allowed.includes(method)),
    url,
    schema: { hide: true },
    config: { access: 'open' },
    onRequest: (_request, reply, done) => {
      void reply.header('Allow', allowed.join(', '))
      done(new ServeError('wrongVerb', `Method Not Allowed, expected ${allowed.join(' or ')}`))
    },
    handler: () => undefined,
  })
}
