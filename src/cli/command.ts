/** What commands share: the terminal, the abort signal, and the way from yargs to one call. */

import { InterruptedError } from '../util/errors.ts'
import { nativeWork } from '../util/native-work.ts'
import { Terminal, type Log } from './terminal.ts'

/** Options that every command has. */
export interface CommonArguments {
  readonly json: boolean
}

export interface CommandContext {
  readonly terminal: Terminal
  /** Aborts at the first Ctrl-C (or SIGTERM): work stops at the next safe point. A second one ends the process. */
  readonly signal: AbortSignal
  /** Ends the process at once, whatever it does. */
  readonly quit: () => Promise<void>
}

export interface CommandOptions {
  /** What stops it; default: SIGINT and SIGTERM. */
  readonly signals?: readonly NodeJS.Signals[]
  /** Takes the lines of the terminal; `flush` waits until they are written. */
  readonly log?: (Log & { flush(): Promise<void> }) | undefined
}

/** Runs a command's work with a terminal and an abort signal. */
export async function runCommand(
  args: CommonArguments,
  work: (context: CommandContext) => Promise<void>,
  { signals = ['SIGINT', 'SIGTERM'], log }: CommandOptions = {},
): Promise<void> {
  const terminal = new Terminal({ json: args.json, log })
  const controller = new AbortController()
  // An exit would wait for native code in threads, for hours perhaps, and then abort.
  const quit = async () => {
    const running = nativeWork() > 0
    if (running) terminal.info('a model is running: the process is killed')
    await log?.flush()
    if (running) process.kill(process.pid, 'SIGKILL')
    process.exit(130)
  }
  const stop = () => {
    if (controller.signal.aborted) {
      void quit()
      return
    }
    terminal.info('stopping at the next safe point; press Ctrl-C again to stop at once')
    controller.abort(new InterruptedError('interrupted'))
  }
  for (const signal of signals) process.on(signal, stop)
  try {
    await work({ terminal, signal: controller.signal, quit })
  } finally {
    terminal.done()
    for (const signal of signals) process.off(signal, stop)
  }
}
