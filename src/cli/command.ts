/** What commands share: the terminal, the abort signal, and the way from yargs to one call. */

import { InterruptedError } from '../util/errors.ts'
import { nativeWork } from '../util/native-work.ts'
import { Terminal } from './terminal.ts'

/** Options that every command has. */
export interface CommonArguments {
  readonly json: boolean
}

export interface CommandContext {
  readonly terminal: Terminal
  /** Aborts at the first Ctrl-C (or SIGTERM): work stops at the next safe point. A second one ends the process. */
  readonly signal: AbortSignal
}

/** Runs a command's work with a terminal and an abort signal. */
export async function runCommand(
  args: CommonArguments,
  work: (context: CommandContext) => Promise<void>,
): Promise<void> {
  const terminal = new Terminal({ json: args.json })
  const controller = new AbortController()
  const stop = () => {
    if (controller.signal.aborted) quit(terminal)
    terminal.info('stopping at the next safe point; press Ctrl-C again to stop at once')
    controller.abort(new InterruptedError('interrupted'))
  }
  process.on('SIGINT', stop)
  process.on('SIGTERM', stop)
  try {
    await work({ terminal, signal: controller.signal })
  } finally {
    terminal.done()
    process.off('SIGINT', stop)
    process.off('SIGTERM', stop)
  }
}

/** Ends the process at once. Its exit would wait for native code in threads, for hours perhaps, and then abort. */
function quit(terminal: Terminal): void {
  if (nativeWork() === 0) process.exit(130)
  terminal.info('a model is running: the process is killed')
  process.kill(process.pid, 'SIGKILL')
}
