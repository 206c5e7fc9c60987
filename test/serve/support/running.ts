/** A server on a free port of this machine, with short times, and a client of it. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { cpuEngine } from '../../../src/runtime/ort-cpu/engine.ts'
import { InferenceClient, type InferResult } from '../../../src/serve/client/client.ts'
import type { ServeOptions } from '../../../src/serve/options.ts'
import { startServer, type RunningServer } from '../../../src/serve/server.ts'

export interface TestServer {
  readonly server: RunningServer
  readonly client: InferenceClient
  readonly url: string
  /** What was logged, one object a line. */
  readonly log: Record<string, unknown>[]
  close(): Promise<boolean>
}

const open = new Set<RunningServer>()

/** Closes what a test that failed has left open; for `test.after`. */
export async function closeAll(): Promise<void> {
  await Promise.all([...open].map(server => server.close()))
}

export async function serve(
  places: ServeOptions['places'],
  options: Partial<ServeOptions> = {},
): Promise<TestServer> {
  const log: Record<string, unknown>[] = []
  const logger = pino({ level: 'debug' }, { write: line => void log.push(JSON.parse(line) as never) })
  const server = await startServer({
    ...{ places, engine: cpuEngine(), port: 0, pollMs: 50, drainMs: 5000, graceMs: 20, logger },
    ...options,
    settings: { instances: 1, threads: 1, maxBatch: 8, ...options.settings },
  })
  open.add(server)
  const key = options.adminToken ?? options.apiKey
  const client = new InferenceClient(server.url, key === undefined ? {} : { key })
  const close = () => {
    open.delete(server)
    return server.close()
  }
  return { server, client, url: server.url.replace(/\/$/, ''), log, close }
}

export function temporaryFolder(): { readonly path: (...parts: string[]) => string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), 'swa-onnx-serve-'))
  return {
    path: (...parts) => join(folder, ...parts),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
}

/** One FP32 input `x` of rows, and the numbers of the output `y`. */
export async function ask(
  { client }: Pick<TestServer, 'client'>,
  model: string,
  rows: readonly (readonly number[])[],
  options: Parameters<InferenceClient['infer']>[2] = {},
): Promise<number[]> {
  return numbersOf(await client.infer(model, rowsOf(rows), options))
}

export function rowsOf(rows: readonly (readonly number[])[]) {
  const shape = [rows.length, rows[0]!.length]
  return { x: { datatype: 'FP32', shape, data: Float32Array.from(rows.flat()) } } as const
}

export function numbersOf({ outputs }: InferResult): number[] {
  return Array.from(outputs['y']!.data as Float32Array)
}

/** Waits until something holds; fails after ten seconds. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 10_000
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`did not come true within 10 s: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}
