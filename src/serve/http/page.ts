/** The page and what it asks for beside the protocol: what is served, how it fares, and models to run in the browser. */

import { createReadStream, existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { VERSION } from '../../util/version.ts'
import type { Metrics } from '../metrics.ts'
import { ServeError } from '../protocol/errors.ts'
import { tensorMetadata, type PortSpec } from '../protocol/signature.ts'
import { dataFileName } from '../repository/describe.ts'
import type { Repository } from '../repository/repository.ts'
import type { ServedVersion } from '../repository/served-version.ts'
import { findFile, HEADERS, TYPES } from '../static-files.ts'
import { pickVersion } from './infer.ts'
import { SERVER_NAME } from './models.ts'
import type { PageModel, PagePort, PageServer, PageTraffic } from './page-messages.ts'

export interface PageContext {
  readonly repository: Repository
  readonly metrics: Metrics
  readonly engine: string
  /** Whether the page may fetch models. */
  readonly shareModels: boolean
  readonly folders: PageFolders
}

/** Where built files are. */
export interface PageFolders {
  readonly page: string | null
  /** onnxruntime-web's. */
  readonly runtime: string | null
}

/** Beside the package's modules or in the build of a checkout; null where nothing was built. */
export const BUILT_PAGE: PageFolders = {
  page: builtFolder('serve/page', 'main.js'),
  runtime: builtFolder('browser/page/ort', ''),
}

/** `file` is one that the folder's sources do not have. */
function builtFolder(name: string, file: string): string | null {
  const places = [`../../${name}`, `../../../dist/${name}`].map(place =>
    fileURLToPath(new URL(place, import.meta.url)),
  )
  return places.find(place => existsSync(join(place, file))) ?? null
}

const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json']

export function addPageRoutes(app: FastifyInstance, context: PageContext): void {
  addStaticRoutes(app, context.folders)
  const hidden = { schema: { hide: true } }
  app.get('/page/models.json', hidden, async (): Promise<PageServer> => {
    const versions = context.repository.models.flatMap(model => model.versions)
    return {
      ...{ name: SERVER_NAME, version: VERSION, engine: context.engine },
      models: await Promise.all(versions.map(version => pageModel(version, context.shareModels))),
    }
  })
  app.get('/page/traffic.json', hidden, () => traffic(context))
  app.get<{ Params: { model: string; version: string; file: string } }>(
    '/page/files/:model/:version/:file',
    hidden,
    async ({ params }, reply) => {
      const version = pickVersion(context.repository.model(params.model), params.version)
      const path = filesOf(version, context.shareModels).get(params.file)
      if (path === undefined) throw new ServeError('notFound', 'Not Found')
      return sendFile(reply, path)
    },
  )
}

function addStaticRoutes(app: FastifyInstance, { page, runtime }: PageFolders): void {
  const open = { schema: { hide: true }, config: { access: 'open' as const } }
  const send = async (reply: FastifyReply, folder: string | null, url: string) => {
    const path = folder && (await findFile(folder, url))
    if (!path) throw new ServeError('notFound', 'Not Found')
    return sendFile(reply, path)
  }
  app.get('/', open, (_request, reply) => send(reply, page, '/index.html'))
  app.get<{ Params: { '*': string } }>('/page/static/*', open, ({ params }, reply) =>
    send(reply, page, `/${params['*']}`),
  )
  app.get<{ Params: { '*': string } }>('/page/ort/*', open, ({ params }, reply) =>
    send(reply, runtime, `/${params['*']}`),
  )
}

async function sendFile(reply: FastifyReply, path: string): Promise<FastifyReply> {
  const { size } = await stat(path)
  return reply
    .headers({ ...HEADERS, 'Content-Length': size })
    .type(TYPES[extname(path)] ?? 'application/octet-stream')
    .send(createReadStream(path))
}

/** Files of a version that the page may fetch, by name. */
function filesOf({ facts }: ServedVersion, shareModels: boolean): Map<string, string> {
  const { source, dataFiles } = facts
  const files = new Map<string, string>()
  if (shareModels) {
    files.set('model.onnx', source.path)
    for (const path of dataFiles) files.set(dataFileName(source.path, path), path)
  }
  for (const name of TOKENIZER_FILES) {
    const path = source.tokenizer && join(source.tokenizer, name)
    if (path && existsSync(path)) files.set(name, path)
  }
  return files
}

function pagePort(port: PortSpec): PagePort {
  return { ...tensorMetadata(port), anyRank: port.shape === null }
}

async function pageModel(version: ServedVersion, shareModels: boolean): Promise<PageModel> {
  const { name, facts, signature, labels, batched } = version
  const files = filesOf(version, shareModels)
  const url = (file: string) => `/page/files/${name}/${version.version}/${encodeURIComponent(file)}`
  const share = async (file: string, path: string) => ({
    ...{ name: file, url: url(file) },
    bytes: (await stat(path).catch(() => ({ size: 0 }))).size,
  })
  return {
    ...{ name, version: version.version, loaded: version.loaded, ready: version.ready, batched, labels },
    inputs: signature.inputs.map(pagePort),
    outputs: signature.outputs.map(pagePort),
    note: facts.probe.note,
    model: shareModels ? await share('model.onnx', facts.source.path) : null,
    dataFiles: shareModels
      ? await Promise.all(facts.dataFiles.map(path => share(dataFileName(facts.source.path, path), path)))
      : [],
    tokenizer: files.has('tokenizer.json')
      ? {
          url: url('tokenizer.json'),
          configUrl: files.has('tokenizer_config.json') ? url('tokenizer_config.json') : null,
        }
      : null,
  }
}

async function traffic({ repository, metrics }: PageContext): Promise<PageTraffic> {
  const latencies = await metrics.latencies()
  const versions = repository.models.flatMap(model => model.versions)
  return {
    time: Date.now(),
    versions: versions.map(({ name, version, loaded, statistics, scheduler }) => ({
      ...{ name, version, loaded },
      success: statistics.success.count,
      failures: statistics.fail.count,
      items: statistics.items,
      executions: statistics.executions,
      pending: scheduler.pending,
      latency: latencies.get(`${name}:${version}`) ?? { bounds: [], counts: [] },
    })),
  }
}
