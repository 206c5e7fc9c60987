/** `swa-onnx browser`: serves the page that fine-tunes in a browser; nothing leaves this machine. */

import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Options } from 'yargs'
import { EnvironmentError } from '../../util/errors.ts'
import { runCommand, type CommonArguments } from '../command.ts'

export const command = 'browser'
export const describe = 'serve the page that fine-tunes in a browser, on this machine only'
export const builder = {
  port: { type: 'number', default: 8100, describe: 'port on 127.0.0.1; 0 takes a free one' },
} as const satisfies Record<string, Options>

interface Arguments extends CommonArguments {
  readonly port: number
}

/** Beside the built commands, or in the build of a checkout. */
const PLACES = ['../../browser/page', '../../../dist/browser/page'].map(place =>
  fileURLToPath(new URL(place, import.meta.url)),
)

export async function handler(args: Arguments): Promise<void> {
  await runCommand(args, async ({ terminal, signal }) => {
    const { serveStatic } = await import('../../serve/static-files.ts')
    const page = PLACES.find(place => existsSync(`${place}/main.js`))
    if (page === undefined) {
      throw new EnvironmentError('the page is not built', { cure: 'run `npm run build`' })
    }
    const server = await serveStatic(page, args.port)
    terminal.result(`open ${server.url}`, { url: server.url })
    terminal.info('Ctrl-C stops the server')
    await new Promise<void>(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
    await server.close()
  })
}
