/**
 * A server in a process of its own, with small limits and short times, so that an attack shows soon and its memory is
 * nobody else's. Run by `attackedServer`.
 */

import { fork, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { cpuEngine } from '../../../src/runtime/ort-cpu/engine.ts'
import { startServer } from '../../../src/serve/server.ts'

const MIB = 2 ** 20

export const ATTACKED_LIMITS = {
  bodyBytes: 4 * MIB,
  decodedBytes: 4 * MIB,
  allBodiesBytes: 24 * MIB,
  headerBytes: 64 * 1024,
  depth: 64,
  rank: 32,
  elements: 2 ** 22,
  requestMs: 1500,
  headersMs: 800,
}

export const ADMIN_TOKEN = 'admin-token-of-the-test'
export const API_KEY = 'api-key-of-the-test'

export interface Memory {
  readonly now: number
  readonly peak: number
}

export interface AttackedServer {
  /** Nobody needs a key, and nobody may load or unload. */
  readonly open: number
  /** Asks for the key or the token above. */
  readonly locked: number
  /** Bytes of the process now, and at most so far. */
  memory(): Promise<Memory>
  /** What the process wrote to its standard error, and internal errors it logged. */
  complaints(): string
  alive(): boolean
  close(): Promise<void>
}

export async function attackedServer(models: string): Promise<AttackedServer> {
  const child = fork(fileURLToPath(import.meta.url), [models], {
    execArgv: ['--import', 'tsx', '--expose-gc'],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    env: { ...process.env, ATTACKED_SERVER: '1' },
  })
  let text = ''
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
  }
  const gone = new Promise<never>((_resolve, reject) => {
    child.once('exit', code => reject(new Error(`the server ended with ${code ?? '?'}: ${text}`)))
  })
  gone.catch(() => undefined)
  const next = () => Promise.race([gone, new Promise(resolve => child.once('message', resolve))])
  const { open, locked } = (await next()) as { open: number; locked: number }
  return {
    open,
    locked,
    async memory() {
      child.send('memory')
      return (await next()) as Memory
    },
    complaints: () => text,
    alive: () => child.exitCode === null && child.signalCode === null,
    close: () => stop(child),
  }
}

function stop(child: ChildProcess): Promise<void> {
  return new Promise(resolve => {
    child.once('exit', () => resolve())
    child.kill('SIGKILL')
  })
}

async function main(models: string): Promise<void> {
  const options = {
    places: [{ path: models, name: null }],
    engine: cpuEngine(),
    port: 0,
    pollMs: 0,
    settings: { instances: 1, threads: 1, maxBatch: 4, timeout: 3000, maxQueue: 64 },
    limits: ATTACKED_LIMITS,
    logger: pino({ level: 'error' }, { write: line => process.stderr.write(line) }),
  } as const
  const portOf = ({ url }: { url: string }) => Number(new URL(url).port)
  const open = await startServer(options)
  const locked = await startServer({ ...options, apiKey: API_KEY, adminToken: ADMIN_TOKEN })
  process.on('message', () => {
    globalThis.gc?.()
    const memory: Memory = { now: process.memoryUsage.rss(), peak: process.resourceUsage().maxRSS * 1024 }
    process.send!(memory)
  })
  process.send!({ open: portOf(open), locked: portOf(locked) })
}

if (process.env['ATTACKED_SERVER'] === '1') await main(process.argv[2]!)
