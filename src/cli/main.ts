#!/usr/bin/env node
/** The entry point: parse, run one command, report its error, set the exit code. */

import { hideBin } from 'yargs/helpers'
import { EnvironmentError, messageOf, SwaError } from '../util/errors.ts'
import { buildYargs } from './yargs.ts'
import { Terminal } from './terminal.ts'

const terminal = new Terminal({ json: false })

// A reader that leaves early (`| head`), or a terminal, is no error, and must not stop a run; a full disk is one.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    const left = error.code === 'EPIPE' || (error.code === 'EIO' && stream.isTTY)
    if (!left) report(new EnvironmentError(`write the result: ${messageOf(error)}`))
  })
}

try {
  await buildYargs(hideBin(process.argv)).parseAsync()
} catch (error) {
  report(error)
}

function report(error: unknown): void {
  process.exitCode = error instanceof SwaError ? error.exitCode : 1
  terminal.error(messageOf(error), error instanceof SwaError ? error.cure : undefined)
  if (!(error instanceof SwaError) || process.env['SWA_ONNX_DEBUG']) {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? '') : ''}\n`)
  }
}
