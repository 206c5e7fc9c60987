/**
 * Tries an engine in a process of its own: a driver that crashes or hangs takes only that process with it, and what
 * native libraries print by themselves goes into the report instead of on the terminal.
 */

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { messageOf } from '../util/errors.ts'
import type { EngineOptions, EngineReport } from './engines.ts'

export interface ProbeSettings {
  /** What the process runs. */
  readonly entry?: URL
  readonly timeLimitMs?: number
}

/** A GPU engine that starts for the first time may compile its kernels. */
const TIME_LIMIT_MS = 60_000

/** Tries one engine; never throws. */
export function probeInChild(
  name: string,
  options: EngineOptions,
  { entry = ownEntry(), timeLimitMs = TIME_LIMIT_MS }: ProbeSettings = {},
): Promise<EngineReport> {
  return new Promise(resolve => {
    const child = spawn(
      process.execPath,
      [...loaderOf(entry), fileURLToPath(entry), name, JSON.stringify(options)],
      {
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      },
    )
    let log = ''
    const missing = (found: string): EngineReport => ({
      ...{ name, works: false, accelerated: false },
      found: lastLine(log) === null ? found : `${found}; its last words: ${lastLine(log)!}`,
      cure: 'update the driver of the device, or choose another engine',
    })
    // The first of these that happens is the report; the process has no more to do.
    const settle = (report: EngineReport) => {
      clearTimeout(timer)
      resolve(report)
      child.kill('SIGKILL')
    }
    const timer = setTimeout(() => {
      settle(missing(`a small model did not run within ${timeLimitMs / 1000} s`))
    }, timeLimitMs)
    child.stderr!.on('data', (chunk: Buffer) => (log = `${log}${chunk.toString()}`.slice(-LOG_BYTES)))
    child.on('message', report => {
      settle(report as EngineReport)
    })
    child.on('error', error => {
      settle(missing(`a process to try it could not be started: ${messageOf(error)}`))
    })
    child.on('close', (code, signal) => {
      settle(missing(`trying it ended the process (${signal ?? `code ${code ?? '?'}`})`))
    })
  })
}

/** What is kept of what the process prints. */
const LOG_BYTES = 4096

function lastLine(log: string): string | null {
  return log.trim().split('\n').at(-1)?.trim() || null
}

/** From a checkout, under tsx, it is TypeScript; in the package, JavaScript. */
function ownEntry(): URL {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  return new URL(`./probe-child.${extension}`, import.meta.url)
}

function loaderOf(entry: URL): string[] {
  return entry.pathname.endsWith('.ts') ? ['--import', import.meta.resolve('tsx')] : []
}
