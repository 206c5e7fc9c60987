/** A server from its options: repository, routes, watching, and an orderly end. */

import type { AddressInfo } from 'node:net'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { EnvironmentError, InputError, messageOf } from '../util/errors.ts'
import { keepFreedMemory } from '../util/keep-memory.ts'
import { DeviceHealth } from './device-health.ts'
import { LOOPBACK_NAMES, type HostNames } from './http/auth.ts'
import { Bodies } from './http/body.ts'
import { makeApp, refuseOtherVerbs } from './http/app.ts'
import { Connections } from './http/connections.ts'
import { addInferRoutes } from './http/infer.ts'
import { DEFAULT_LIMITS } from './http/limits.ts'
import { addModelRoutes, addRepositoryRoutes, addServerRoutes } from './http/models.ts'
import { addPageRoutes, BUILT_PAGE } from './http/page.ts'
import { FirstLoad } from './first-load.ts'
import { healthEvents, repositoryEvents } from './events.ts'
import { makeLogger } from './logger.ts'
import { Metrics } from './metrics.ts'
import type { ServeOptions } from './options.ts'
import { poll } from './repository/poll.ts'
import { Repository } from './repository/repository.ts'
import type { ServedVersion } from './repository/served-version.ts'
import { DEFAULT_SETTINGS } from './repository/settings.ts'
import { Places } from './repository/sources.ts'
import { Shadows } from './shadows.ts'
import { shutDown } from './shut-down.ts'

export interface RunningServer {
  /** `http://127.0.0.1:8000/`. */
  readonly url: string
  readonly repository: Repository
  readonly metrics: Metrics
  /**
   * Stops: says that it is not ready, waits for requests, gives everything back. `false`: there was no time for all of it,
   * and what is left, such as a run, may keep the process from ending.
   */
  close(): Promise<boolean>
}

const MODEL_PATHS = ['/v2/models/:model', '/v2/models/:model/versions/:version'] as const

/** A device that takes so long for a run hangs. */
const HEALTH_TIMEOUT_MS = 60_000

const LOOPBACK = /^(?:localhost|127(?:\.\d+){3}|::1)$/

/** Loads the models and listens; fails where there is nothing to serve, or it is told to stop before. */
export async function startServer(options: ServeOptions): Promise<RunningServer> {
  const { host = '127.0.0.1', logger = makeLogger('warn'), pollMs = 1000 } = options
  const { noticeMs = 0, drainMs = 30_000, graceMs = 1000 } = options
  keepFreedMemory()
  let stopping = false
  const versions = (): ServedVersion[] => repository.models.flatMap(model => model.versions)
  const metrics = new Metrics(versions, options.engine.name)
  const { signal = new AbortController().signal } = options
  const load = new FirstLoad(options.engine, signal)
  const repository = new Repository({
    engine: load.engine,
    settings: { ...DEFAULT_SETTINGS, ...options.settings },
    policy: options.versions ?? { kind: 'latest', count: 1 },
    routing: options.routing ?? new Map(),
    places: new Places(options.places, options.runs),
    drain: drainMs,
    events: repositoryEvents(logger, metrics, signal),
  })
  await load.run(repository)
  warnOfRouting(options, repository, logger)
  // A run may not have a snapshot yet.
  if (versions().length === 0 && !options.runs?.length) {
    await repository.close()
    throw nothingServed(options, repository)
  }
  const health = new DeviceHealth(versions, {
    timeout: options.hangMs ?? HEALTH_TIMEOUT_MS,
    ...healthEvents(logger),
  })
  metrics.device(versions, version => health.healthy(version))
  const ready = () => !stopping && repository.ready && health.good
  const connections = new Connections(Math.min(graceMs, drainMs))
  let app: FastifyInstance
  let url: string
  try {
    app = await openApp(options, host, logger, connections)
    signal.throwIfAborted()
    addRoutes(app, options, repository, metrics, ready)
    url = await listen(app, host, options.port ?? 8000, options.tls !== undefined)
  } catch (error) {
    await repository.close()
    throw error
  }
  const unlookable = (error: unknown) => logger.warn({ err: error }, 'the models could not be looked for')
  const polls = [
    poll(options.healthMs ?? 15_000, () => health.look(), unlookable),
    ...(pollMs > 0 ? [poll(pollMs, () => repository.update(), unlookable)] : []),
  ]
  return {
    url,
    repository,
    metrics,
    close() {
      stopping = true
      return shutDown({ app, connections, repository, polls, logger, noticeMs, drainMs })
    },
  }
}

function openApp(
  options: ServeOptions,
  host: string,
  logger: FastifyBaseLogger,
  connections: Connections,
): Promise<FastifyInstance> {
  return makeApp({
    limits: { ...DEFAULT_LIMITS, ...options.limits },
    tls: options.tls ?? null,
    apiKey: options.apiKey ?? null,
    adminToken: options.adminToken ?? null,
    ...{ logger, connections },
    logRequests: options.logRequests ?? false,
    hosts: hostsOf(options, host),
  })
}

function addRoutes(
  app: FastifyInstance,
  options: ServeOptions,
  repository: Repository,
  metrics: Metrics,
  ready: () => boolean,
): void {
  const limits = { ...DEFAULT_LIMITS, ...options.limits }
  addServerRoutes(app, { ready })
  addModelRoutes(app, repository, MODEL_PATHS)
  const bodies = new Bodies(limits)
  addInferRoutes(app, { repository, limits, bodies, shadows: new Shadows(metrics) }, MODEL_PATHS)
  addRepositoryRoutes(app, repository, bodies)
  addPageRoutes(app, {
    repository,
    metrics,
    engine: options.engine.name,
    folders: options.pageFolders ?? BUILT_PAGE,
    shareModels: options.shareModels ?? LOOPBACK.test(options.host ?? '127.0.0.1'),
  })
  app.get('/metrics', { schema: { hide: true } }, async (_request, reply) =>
    reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()),
  )
  for (const path of MODEL_PATHS) {
    for (const end of ['', '/ready', '/config', '/stats', '/infer']) refuseOtherVerbs(app, `${path}${end}`)
  }
  for (const path of [
    '/v2',
    '/v2/health/live',
    '/v2/health/ready',
    '/v2/models/stats',
    '/v2/repository/index',
    '/v2/repository/models/:model/load',
    '/v2/repository/models/:model/unload',
    '/metrics',
  ]) {
    refuseOtherVerbs(app, path)
  }
}

/** A model may still come; a name that is mistyped will not. */
function warnOfRouting({ routing }: ServeOptions, repository: Repository, logger: FastifyBaseLogger): void {
  const known = new Set(repository.index(false).map(({ name, version }) => `${name}:${version ?? ''}`))
  for (const [model, { canary, shadow }] of routing ?? []) {
    for (const version of [canary?.version, shadow]) {
      if (version === undefined || version === null || known.has(`${model}:${version}`)) continue
      logger.warn({ model, version }, 'a canary or shadow that is not there')
    }
  }
}

function nothingServed({ places, versions }: ServeOptions, repository: Repository): InputError {
  const { found } = repository
  const where = places.map(({ path }) => path).join(', ')
  const refused = repository.index(false).find(({ state }) => state === 'UNAVAILABLE')
  if (refused) {
    const { name, version = '1', reason = '' } = refused
    return new InputError(`serve ${where}: ${name} version ${version}: ${reason}`)
  }
  if (versions?.kind === 'specific' && found.length > 0) {
    const wanted = versions.versions.join(', ')
    return new InputError(`serve ${where}: expected version ${wanted}, found ${found.join(', ')}`)
  }
  return new InputError(`serve ${where}: expected ONNX models, found none`, {
    cure: 'name an ONNX file, a folder of them, or a repository model/version/model.onnx',
  })
}

/** Where only this machine can reach the server and no key is asked for, clients must mean this machine. */
function hostsOf({ hosts, apiKey }: ServeOptions, host: string): HostNames {
  const own = new Set(hosts)
  if (hosts !== undefined) return { names: new Set([...LOOPBACK_NAMES, ...own]), own }
  return { names: LOOPBACK.test(host) && apiKey === undefined ? LOOPBACK_NAMES : null, own }
}

async function listen(app: FastifyInstance, host: string, port: number, tls: boolean): Promise<string> {
  try {
    await app.listen({ host, port })
  } catch (error) {
    throw new EnvironmentError(`serve: cannot listen on ${host}:${port}: ${messageOf(error)}`, {
      cause: error,
      cure: 'choose another --port; 0 takes a free one',
    })
  }
  const { port: bound } = app.server.address() as AddressInfo
  const shown = host.includes(':') ? `[${host}]` : host
  return `${tls ? 'https' : 'http'}://${shown}:${bound}/`
}
