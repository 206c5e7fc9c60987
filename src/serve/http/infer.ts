/** The route that everything is for: a body in, tensors through a model, a body out. */

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { performance } from 'node:perf_hooks'
import { promisify } from 'node:util'
import { deflate, gzip } from 'node:zlib'
import { invalid, quoted } from '../protocol/errors.ts'
import { decodeRequest, type TensorRequest } from '../protocol/request.ts'
import { encodeResponse, type EncodedResponse } from '../protocol/response.ts'
import { checkVersion } from '../repository/names.ts'
import type { Repository } from '../repository/repository.ts'
import type { ServedModel } from '../repository/served-model.ts'
import type { ServedVersion } from '../repository/served-version.ts'
import type { Shadows } from '../shadows.ts'
import type { Bodies, Body } from './body.ts'
import type { HttpLimits } from './limits.ts'

export interface ModelParams {
  readonly model: string
  readonly version?: string
}

export interface InferContext {
  readonly repository: Repository
  readonly limits: HttpLimits
  readonly bodies: Bodies
  readonly shadows: Shadows
}

const HEADER = 'Inference-Header-Content-Length'
const HEADER_KEY = 'inference-header-content-length'

/** Less goes out in one piece. */
const SMALLEST_IN_PARTS = 4096

/** Less is not worth packing. */
const SMALLEST_PACKED = 1024
const PACK = {
  gzip: (bytes: Uint8Array) => promisify(gzip)(bytes, { level: 1 }),
  deflate: (bytes: Uint8Array) => promisify(deflate)(bytes, { level: 1 }),
}

type InferRequest = FastifyRequest<{ Params: ModelParams }>

export async function infer(
  context: InferContext,
  request: InferRequest,
  reply: FastifyReply,
): Promise<void> {
  // What is no number is refused when the body has been read.
  const body = await context.bodies.read(request.raw, Number(request.headers[HEADER_KEY]))
  try {
    await send(request, reply, await answer(context, request, reply, body))
  } finally {
    body.release()
  }
}

async function answer(
  { repository, limits, shadows }: InferContext,
  request: InferRequest,
  reply: FastifyReply,
  body: Body,
): Promise<EncodedResponse> {
  const started = performance.now()
  const model = repository.model(request.params.model)
  const version = pickVersion(model, request.params.version)
  const asked = decode(version, body.bytes, headerLengthOf(request), limits, started)
  const results = await version.infer(asked.inputs, {
    outputs: asked.outputs.map(({ name }) => name),
    timeout: asked.timeout,
    started,
    // A shadow wants them afterwards.
    memory: model.shadowOf(version) ? undefined : body,
    onQueued: work => reply.raw.once('close', work.cancel),
  })
  shadows.follow(model, version, asked, results, body)
  return encodeResponse(results, asked.outputs, version, asked.id)
}

export function pickVersion(model: ServedModel, version: string | undefined): ServedVersion {
  return model.pick(version === undefined ? null : checkVersion(version))
}

function decode(
  version: ServedVersion,
  body: Uint8Array,
  headerLength: number | null,
  limits: HttpLimits,
  started: number,
): TensorRequest {
  try {
    return decodeRequest(body, headerLength, version.headers, limits)
  } catch (error) {
    version.refused(started)
    throw error
  }
}

function headerLengthOf({ headers }: FastifyRequest): number | null {
  const text = headers[HEADER_KEY]
  if (text === undefined) return null
  if (typeof text === 'string' && /^\d{1,10}$/.test(text)) return Number(text)
  throw invalid(`${HEADER}: expected a number of bytes, found ${quoted(text)}`)
}

/** Past fastify's own way of sending: the parts of the answer go out as they are. */
async function send(
  request: FastifyRequest,
  reply: FastifyReply,
  { headerLength, parts }: EncodedResponse,
): Promise<void> {
  const total = parts.reduce((sum, { byteLength }) => sum + byteLength, 0)
  void reply.type(headerLength === null ? 'application/json' : 'application/octet-stream')
  if (headerLength !== null) void reply.header(HEADER, headerLength)
  const encoding = total < SMALLEST_PACKED ? null : packingOf(request.headers['accept-encoding'])
  if (encoding !== null) {
    await reply.header('Content-Encoding', encoding).send(await PACK[encoding](Buffer.concat(parts)))
    return
  }
  void reply.header('Content-Length', total)
  reply.hijack()
  const { raw } = reply
  raw.writeHead(200, reply.getHeaders() as Record<string, string>)
  if (total < SMALLEST_IN_PARTS) {
    // One text with the headers is one plain write: less work than several buffers.
    raw.end(Buffer.concat(parts).toString('latin1'), 'latin1')
    return
  }
  raw.cork()
  for (const part of parts) raw.write(part)
  raw.end()
  raw.uncork()
}

function packingOf(accepted: string | string[] | undefined): keyof typeof PACK | null {
  if (typeof accepted !== 'string') return null
  const names = accepted.split(',').map(part => part.trim().toLowerCase())
  return names.includes('gzip') ? 'gzip' : names.includes('deflate') ? 'deflate' : null
}

/** Routes of inference. */
export function addInferRoutes(app: FastifyInstance, context: InferContext, paths: readonly string[]): void {
  for (const path of paths) {
    app.post<{ Params: ModelParams }>(
      `${path}/infer`,
      {
        schema: {
          operationId: path.includes(':version') ? 'inferVersion' : 'infer',
          tags: ['inference'],
          summary: 'Run a model',
          consumes: ['application/json', 'application/octet-stream'],
          body: { $ref: 'inference_request#' },
          response: { 200: { $ref: 'inference_response#' }, '4xx': { $ref: 'error_response#' } },
        },
      },
      (request, reply) => infer(context, request, reply),
    )
  }
}
