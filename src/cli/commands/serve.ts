/** `swa-onnx serve model.onnx | folder`: puts models into service over HTTP. */

import { setFlagsFromString } from 'node:v8'
import type { Argv, Options } from 'yargs'
import type { ServeOptions } from '../../serve/options.ts'
import type { VersionPolicy } from '../../serve/repository/settings.ts'
import { UsageError } from '../../util/errors.ts'
import { formatBytes } from '../../util/format.ts'
import { CPU } from '../../runtime/engines.ts'
import { runCommand, type CommandContext, type CommonArguments } from '../command.ts'
import { askedEngine, openEngine } from '../engine.ts'
import { ENGINE_OPTIONS, given, type EngineArguments } from '../options.ts'
import { readSecret, readTls } from '../secrets.ts'

export const command = 'serve [models..]'
export const describe = 'serve models over HTTP: Open Inference Protocol v2, metrics and a page'

const MIB = 2 ** 20

const NETWORK_OPTIONS = {
  host: { type: 'string', default: '127.0.0.1', group: 'Network:', describe: 'address to listen on' },
  port: { type: 'number', default: 8000, group: 'Network:', describe: 'port; 0 takes a free one' },
  'tls-cert': { type: 'string', group: 'Network:', describe: 'certificate chain (PEM): serve https' },
  'tls-key': { type: 'string', group: 'Network:', describe: 'its private key (PEM)' },
  'api-key': {
    type: 'string',
    group: 'Network:',
    describe: 'ask clients for this key (also SWA_ONNX_API_KEY); health stays open',
  },
  'api-key-file': { type: 'string', group: 'Network:', describe: 'a file with the key' },
  'admin-token': {
    type: 'string',
    group: 'Network:',
    describe: 'let who has this token load and unload models (also SWA_ONNX_ADMIN_TOKEN)',
  },
  'admin-token-file': { type: 'string', group: 'Network:', describe: 'a file with the token' },
  'allow-host': {
    type: 'string',
    array: true,
    nargs: 1,
    group: 'Network:',
    describe: 'a further name by which browsers may address the server',
  },
} as const satisfies Record<string, Options>

const MODEL_OPTIONS = {
  watch: {
    type: 'string',
    array: true,
    nargs: 1,
    group: 'Models:',
    describe: 'a run folder of finetune: serves its current average',
  },
  versions: {
    type: 'string',
    default: 'latest:1',
    group: 'Models:',
    describe: 'versions in service: latest:N, all, or numbers: 1,3',
  },
  canary: {
    type: 'string',
    array: true,
    nargs: 1,
    group: 'Models:',
    describe: 'a version that answers a share of requests that name none: model:version=percent',
  },
  shadow: {
    type: 'string',
    array: true,
    nargs: 1,
    group: 'Models:',
    describe: 'a version whose answers are only compared, in the metrics: model:version',
  },
  poll: {
    type: 'number',
    default: 1,
    group: 'Models:',
    describe: 'seconds between looks for new versions and files; 0: never',
  },
  'share-models': {
    type: 'boolean',
    group: 'Models:',
    describe:
      'let the page fetch models to run them in the browser (default: if only this machine can reach it)',
  },
} as const satisfies Record<string, Options>

const RUN_OPTIONS = {
  'max-batch': {
    type: 'number',
    group: 'Running:',
    describe: 'samples that share a run at most; 1: requests run alone (default: measured)',
  },
  'max-delay': {
    type: 'number',
    default: 0,
    group: 'Running:',
    describe: 'milliseconds that a request waits for others; 0: only while the model is busy',
  },
  'max-queue': {
    type: 'number',
    default: 256,
    group: 'Running:',
    describe: 'requests of a model that may wait; more get 503 and Retry-After',
  },
  instances: { type: 'number', group: 'Running:', describe: 'sessions of a model (default: measured)' },
  threads: { type: 'number', group: 'Running:', describe: 'threads of a session (default: measured)' },
  timeout: {
    type: 'number',
    default: 30,
    group: 'Running:',
    describe: 'seconds after which a request is given up',
  },
  engine: ENGINE_OPTIONS.engine,
  precision: ENGINE_OPTIONS.precision,
} as const satisfies Record<string, Options>

const LIMIT_OPTIONS = {
  'max-body': {
    type: 'number',
    default: 64,
    group: 'Limits:',
    describe: 'MiB of a request, packed and unpacked',
  },
  'max-memory': {
    type: 'number',
    default: 1024,
    group: 'Limits:',
    describe: 'MiB of all requests at one time',
  },
  'request-timeout': {
    type: 'number',
    default: 60,
    group: 'Limits:',
    describe: 'seconds in which a request must have come in',
  },
  'max-connections': { type: 'number', default: 4096, group: 'Limits:', describe: 'connections at one time' },
  'drain-timeout': {
    type: 'number',
    default: 30,
    group: 'Limits:',
    describe: 'seconds that requests have to finish when a version or the server goes',
  },
  'drain-delay': {
    type: 'number',
    default: 0,
    group: 'Limits:',
    describe: 'seconds after SIGTERM in which the server says that it is not ready, and still answers',
  },
  'log-level': {
    choices: ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const,
    default: 'info' as const,
    group: 'Limits:',
    describe: 'what is logged, as JSON lines on stderr',
  },
  'log-requests': { type: 'boolean', default: false, group: 'Limits:', describe: 'log every request' },
} as const satisfies Record<string, Options>

interface ServeArguments extends CommonArguments, EngineArguments {
  readonly models: readonly string[]
  readonly host: string
  readonly port: number
  readonly tlsCert?: string
  readonly tlsKey?: string
  readonly apiKey?: string
  readonly apiKeyFile?: string
  readonly adminToken?: string
  readonly adminTokenFile?: string
  readonly allowHost?: readonly string[]
  readonly watch?: readonly string[]
  readonly versions: string
  readonly canary?: readonly string[]
  readonly shadow?: readonly string[]
  readonly poll: number
  readonly shareModels?: boolean
  readonly maxBatch?: number
  readonly maxDelay: number
  readonly maxQueue: number
  readonly instances?: number
  readonly threads?: number
  readonly timeout: number
  readonly maxBody: number
  readonly maxMemory: number
  readonly requestTimeout: number
  readonly maxConnections: number
  readonly drainTimeout: number
  readonly drainDelay: number
  readonly logLevel: string
  readonly logRequests: boolean
}

export function builder(yargs: Argv): Argv {
  return yargs
    .positional('models', {
      type: 'string',
      array: true,
      default: [] as string[],
      describe:
        'ONNX files, folders of them, or repositories model/version/model.onnx; name=path gives a name',
    })
    .options({ ...NETWORK_OPTIONS, ...MODEL_OPTIONS, ...RUN_OPTIONS, ...LIMIT_OPTIONS })
    .example('$0 serve averaged.onnx', 'one model, and a page to try it, on http://127.0.0.1:8000/')
    .example('$0 serve swa=averaged.onnx last=last.onnx', 'two models, to compare them on the page')
    .example('$0 serve models --host 0.0.0.0 --api-key-file key', 'a repository for others, who need the key')
    .example('$0 serve models --canary digits:3=10 --shadow digits:4', 'try versions on real traffic')
    .example('$0 serve --watch runs/digits', 'the current average of a run that is going on')
}

export async function handler(args: ServeArguments): Promise<void> {
  const asked = askedEngine(args, CPU)
  const prepared = await prepare(args)
  // Bodies of requests are garbage of many megabytes a second. Young collections take it away in a millisecond, but it
  // keeps marking the old heap going too, for 5 to 30 ms again and again: a third of the throughput, and most of the
  // latency's tail (measured with 600 KB bodies).
  setFlagsFromString('--no-incremental-marking')
  const { makeLogger, flushLog } = await import('../../serve/logger.ts')
  const logger = makeLogger(args.logLevel)
  // Who collects the lines of stderr shall find the log there and nothing else.
  const log = process.stderr.isTTY
    ? undefined
    : {
        info: (message: string) => logger.info(message),
        warn: (message: string) => logger.warn(message),
        flush: flushLog,
      }
  const serve = async ({ terminal, signal, quit }: CommandContext) => {
    const { engine } = await openEngine(asked, terminal)
    const [{ startServer }, { parseRouting }] = await Promise.all([
      import('../../serve/server.ts'),
      import('../../serve/repository/routing.ts'),
    ])
    const server = await startServer({
      ...prepared,
      engine,
      routing: parseRouting(args.canary ?? [], args.shadow ?? []),
      ...{ logger, signal },
    }).catch((error: unknown) => {
      if (error !== signal.reason) throw error
      return null
    })
    if (server === null) {
      terminal.info('stopped before the models were loaded')
      return quit()
    }
    const models = server.repository.index(true)
    const list = models.map(({ name, version }) => `  ${name} version ${version ?? ''}`).join('\n')
    terminal.result(`${list}\nopen ${server.url}`, { url: server.url, models })
    if (!log) terminal.info('Ctrl-C stops the server')
    await untilAborted(signal)
    if (!(await server.close())) await quit()
  }
  await runCommand(args, serve, { signals: ['SIGINT', 'SIGTERM', 'SIGHUP'], log })
}

/** Also where it was aborted while the models were loaded. */
function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise(resolve => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

/** What can be checked and read before a model is opened. */
async function prepare(args: ServeArguments): Promise<Omit<ServeOptions, 'engine' | 'logger'>> {
  const { models, watch = [] } = args
  if (models.length + watch.length === 0) {
    throw new UsageError('serve: expected models, found none', {
      cure: 'name an ONNX file or a folder of them, or a run with --watch',
    })
  }
  const tls = await readTls(args.tlsCert, args.tlsKey)
  const apiKey = await readSecret(args.apiKey, args.apiKeyFile, 'SWA_ONNX_API_KEY', '--api-key')
  const adminToken = await readSecret(
    args.adminToken,
    args.adminTokenFile,
    'SWA_ONNX_ADMIN_TOKEN',
    '--admin-token',
  )
  const settings = {
    maxBatch: wholeOrNull(args.maxBatch, '--max-batch', 1024),
    maxDelay: within(args.maxDelay, '--max-delay', 0, 60_000),
    maxQueue: whole(args.maxQueue, '--max-queue', 1, 1e6),
    instances: wholeOrNull(args.instances, '--instances', 256),
    threads: wholeOrNull(args.threads, '--threads', 1024),
    timeout: within(args.timeout, '--timeout', 0.001, 86_400) * 1000,
  }
  const limits = {
    bodyBytes: bytesOf(args.maxBody, '--max-body'),
    decodedBytes: bytesOf(args.maxBody, '--max-body'),
    allBodiesBytes: bytesOf(args.maxMemory, '--max-memory'),
    requestMs: within(args.requestTimeout, '--request-timeout', 0.1, 86_400) * 1000,
    connections: whole(args.maxConnections, '--max-connections', 1, 1e6),
  }
  if (limits.allBodiesBytes < limits.bodyBytes) {
    throw new UsageError(
      `--max-memory: expected at least the size of one request (${formatBytes(limits.bodyBytes)}), found ${args.maxMemory}`,
    )
  }
  return {
    places: models.map(placeOf),
    runs: watch.map(placeOf),
    host: args.host,
    port: whole(args.port, '--port', 0, 65_535),
    ...given({ tls, apiKey, adminToken, shareModels: args.shareModels, hosts: args.allowHost }),
    settings,
    limits,
    versions: parseVersions(args.versions),
    pollMs: within(args.poll, '--poll', 0, 86_400) * 1000,
    drainMs: within(args.drainTimeout, '--drain-timeout', 0, 86_400) * 1000,
    noticeMs: within(args.drainDelay, '--drain-delay', 0, 3600) * 1000,
    logRequests: args.logRequests,
  }
}

/** `name=path`, or a path alone. */
function placeOf(text: string): { path: string; name: string | null } {
  const [, name, path] = /^([A-Za-z0-9._-]{1,128})=(.+)$/s.exec(text) ?? []
  return path === undefined ? { path: text, name: null } : { path, name: name! }
}

function parseVersions(text: string): VersionPolicy {
  if (text === 'all') return { kind: 'all' }
  const latest = /^latest:(\d{1,4})$/.exec(text)
  if (latest && Number(latest[1]) > 0) return { kind: 'latest', count: Number(latest[1]) }
  if (/^\d+(,\d+)*$/.test(text)) return { kind: 'specific', versions: text.split(',') }
  throw new UsageError(`--versions: expected latest:N, all or numbers, found "${text}"`)
}

function within(value: number, option: string, least: number, most: number): number {
  if (value >= least && value <= most) return value
  throw new UsageError(`${option}: expected a number from ${least} to ${most}, found ${value}`)
}

function whole(value: number, option: string, least: number, most: number): number {
  if (Number.isInteger(within(value, option, least, most))) return value
  throw new UsageError(`${option}: expected a whole number, found ${value}`)
}

function wholeOrNull(value: number | undefined, option: string, most: number): number | null {
  return value === undefined ? null : whole(value, option, 1, most)
}

function bytesOf(mebibytes: number, option: string): number {
  return Math.round(within(mebibytes, option, 0.001, 4000) * MIB)
}
