/** `swa-onnx serve` in a process of its own. */

import { spawn } from 'node:child_process'
import * as assert from 'uvu/assert'
import { ROOT } from './cli.ts'

export interface Ended {
  readonly code: number | null
  /** The signal that killed it. */
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Launched {
  readonly gone: Promise<Ended>
  /** What it printed until now. */
  readonly stderr: () => string
  readonly stdout: () => string
  kill(signal: NodeJS.Signals): void
}

/** A process that may not have begun to serve. */
export function launch(...args: string[]): Launched {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', 'src/cli/main.ts', 'serve', ...args, '--port', '0', '--json'],
    { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NO_COLOR: '1' } },
  )
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => (stdout += String(chunk)))
  child.stderr.on('data', (chunk: Buffer) => (stderr += String(chunk)))
  const gone = new Promise<Ended>(resolve => {
    child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
  return { gone, stderr: () => stderr, stdout: () => stdout, kill: signal => void child.kill(signal) }
}

export interface Started extends Launched {
  readonly url: string
  readonly models: readonly { readonly name: string }[]
  /** Ends it by a signal. */
  end(signal: NodeJS.Signals): Promise<Ended>
}

/** A process that serves. */
export async function start(...args: string[]): Promise<Started> {
  const launched = launch(...args)
  let ended = false
  void launched.gone.then(() => (ended = true))
  while (!launched.stdout().includes('\n}')) {
    assert.not(ended, launched.stderr())
    await new Promise(resolve => setTimeout(resolve, 20))
  }
  const { url, models } = JSON.parse(launched.stdout()) as Pick<Started, 'url' | 'models'>
  return {
    ...{ ...launched, url, models },
    end: signal => {
      launched.kill(signal)
      return launched.gone
    },
  }
}
