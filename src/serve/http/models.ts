/** Routes that say how the server is and what it serves. */

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { VERSION } from '../../util/version.ts'
import { invalid } from '../protocol/errors.ts'
import { decodeText } from '../protocol/json-scan.ts'
import type { ModelMetadata, ModelStatistics } from '../protocol/schemas.ts'
import { tensorMetadata } from '../protocol/signature.ts'
import { checkVersion } from '../repository/names.ts'
import type { Repository } from '../repository/repository.ts'
import type { ServedVersion } from '../repository/served-version.ts'
import type { Bodies } from './body.ts'
import { pickVersion, type ModelParams } from './infer.ts'
import { modelConfig, PLATFORM } from './model-config.ts'

export const SERVER_NAME = 'swa-onnx'

export const EXTENSIONS = [
  'binary_tensor_data',
  'classification',
  'parameters',
  'model_configuration',
  'model_repository',
  'statistics',
] as const

type ModelRequest = FastifyRequest<{ Params: ModelParams }>

export interface ServerState {
  /** Whether it takes traffic. */
  readonly ready: () => boolean
}

const ref = (name: string) => ({ $ref: `${name}#` })

export function addServerRoutes(app: FastifyInstance, { ready }: ServerState): void {
  const health = (id: string, summary: string, schema: string) => ({
    config: { access: 'open' as const },
    schema: { operationId: id, tags: ['health'], summary, response: { 200: ref(schema) } },
  })
  app.get('/v2/health/live', health('serverLive', 'Whether the server runs', 'server_live'), () => ({
    live: true,
  }))
  app.get(
    '/v2/health/ready',
    health('serverReady', 'Whether all models can answer', 'server_ready'),
    (_request, reply) => answerReady(reply, ready(), { ready: ready() }),
  )
  app.get(
    '/v2',
    {
      schema: {
        operationId: 'serverMetadata',
        tags: ['server'],
        summary: 'Name, version and extensions of the server',
        response: { 200: ref('server_metadata') },
      },
    },
    () => ({ name: SERVER_NAME, version: VERSION, extensions: EXTENSIONS }),
  )
}

/** As Triton: 400 where it is not ready. */
function answerReady(reply: FastifyReply, ready: boolean, body: object): FastifyReply {
  return reply.code(ready ? 200 : 400).send(body)
}

export function addModelRoutes(app: FastifyInstance, repository: Repository, paths: readonly string[]): void {
  for (const path of paths) {
    const suffix = path.includes(':version') ? 'Version' : ''
    const options = (id: string, summary: string, schema: object) => ({
      schema: {
        operationId: `${id}${suffix}`,
        tags: ['models'],
        summary,
        response: { 200: schema, '4xx': ref('error_response') },
      },
    })
    const chosen = ({ params }: ModelRequest) => pickVersion(repository.model(params.model), params.version)
    app.get<{ Params: ModelParams }>(
      path,
      options('modelMetadata', 'Inputs and outputs of a model', ref('model_metadata')),
      request => metadataOf(repository, chosen(request)),
    )
    app.get<{ Params: ModelParams }>(
      `${path}/ready`,
      {
        ...options('modelReady', 'Whether a model can answer', ref('model_ready')),
        config: { access: 'open' },
      },
      ({ params }, reply) => {
        const model = repository.model(params.model)
        const version =
          params.version === undefined ? model.stable() : model.get(checkVersion(params.version))
        const ready = version?.ready ?? false
        return answerReady(reply, ready, { name: model.name, ready })
      },
    )
    app.get<{ Params: ModelParams }>(
      `${path}/config`,
      options('modelConfig', "A model's configuration, as Triton writes it", { type: 'object' }),
      request => modelConfig(chosen(request)),
    )
    app.get<{ Params: ModelParams }>(
      `${path}/stats`,
      options('modelStatistics', 'What a model did', ref('statistics_response')),
      ({ params }) => {
        const model = repository.model(params.model)
        const versions = params.version === undefined ? model.versions : [pickVersion(model, params.version)]
        return { model_stats: versions.map(statisticsOf) }
      },
    )
  }
  app.get(
    '/v2/models/stats',
    {
      schema: {
        operationId: 'statistics',
        tags: ['models'],
        summary: 'What all models did',
        response: { 200: ref('statistics_response') },
      },
    },
    () => ({ model_stats: repository.models.flatMap(({ versions }) => versions.map(statisticsOf)) }),
  )
}

function metadataOf(repository: Repository, version: ServedVersion): ModelMetadata {
  return {
    name: version.name,
    versions: repository.model(version.name).versions.map(served => served.version),
    platform: PLATFORM,
    inputs: version.signature.inputs.map(tensorMetadata),
    outputs: version.signature.outputs.map(tensorMetadata),
  }
}

function statisticsOf(version: ServedVersion): ModelStatistics {
  return version.statistics.report(version.name, version.version)
}

export function addRepositoryRoutes(app: FastifyInstance, repository: Repository, bodies: Bodies): void {
  const tags = ['repository']
  app.post(
    '/v2/repository/index',
    {
      schema: {
        operationId: 'repositoryIndex',
        tags,
        summary: 'All versions of all models and their states',
        body: ref('index_request'),
        response: { 200: ref('index_response') },
      },
    },
    async request => repository.index((await readObject(bodies, request))['ready'] === true),
  )
  const control = (verb: 'load' | 'unload', summary: string, work: (name: string) => Promise<void>) =>
    app.post<{ Params: ModelParams }>(
      `/v2/repository/models/:model/${verb}`,
      {
        config: { access: 'admin' },
        schema: { operationId: `${verb}Model`, tags, summary, security: [{ bearer: [] }] },
      },
      async (request, reply) => {
        const { parameters } = await readObject(bodies, request)
        const uploads = Object.keys(parameters ?? {}).filter(key => key !== 'unload_dependents')
        if (verb === 'load' && uploads.length > 0) {
          throw invalid(`parameter "${uploads[0]!.slice(0, 40)}": models are loaded from the repository only`)
        }
        await work(request.params.model)
        return reply.code(200).send()
      },
    )
  control('load', 'Load a model, or load it again', name => repository.load(name))
  control('unload', 'Take a model out of service', name => repository.unload(name))
}

/** The JSON object of a small body; none is an empty one. */
async function readObject(bodies: Bodies, request: FastifyRequest): Promise<Record<string, unknown>> {
  const body = await bodies.read(request.raw)
  try {
    return objectOf(body.bytes)
  } finally {
    body.release()
  }
}

function objectOf(bytes: Uint8Array): Record<string, unknown> {
  if (bytes.byteLength === 0) return {}
  if (bytes.byteLength > 65_536) throw invalid('the request is larger than 64 KiB')
  const text = decodeText(bytes, 'request JSON')
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      return value as Record<string, unknown>
    }
  } catch {
    // Told below.
  }
  throw invalid('failed to parse the request JSON: expected an object')
}
