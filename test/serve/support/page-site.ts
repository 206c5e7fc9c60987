/** The built page of a real server in a Chromium. */

import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pino } from 'pino'
import type { Browser, Page } from 'puppeteer-core'
import { cpuEngine } from '../../../src/runtime/ort-cpu/engine.ts'
import type { ServeOptions } from '../../../src/serve/options.ts'
import { startServer, type RunningServer } from '../../../src/serve/server.ts'
import { buildServed } from '../../../tools/build/browser.mjs'
import { launchChromium } from '../../support/chromium.ts'

export interface PageSite {
  /** A folder that goes with the site. */
  readonly folder: string
  readonly browser: Browser
  /** Errors of all pages. */
  readonly problems: string[]
  /** Starts a server with the built page on a free port. */
  serve(options: Pick<ServeOptions, 'places'> & Partial<ServeOptions>): Promise<RunningServer>
  /** Opens the page of a server. */
  open(server: RunningServer): Promise<Page>
  close(): Promise<void>
}

const require = createRequire(import.meta.url)

export async function openPageSite(chromium: string): Promise<PageSite> {
  const folder = mkdtempSync(join(tmpdir(), 'swa-served-'))
  const page = join(folder, 'page')
  await buildServed(page)
  const runtime = dirname(require.resolve('onnxruntime-web/ort-wasm-simd-threaded.wasm'))
  const browser = await launchChromium(chromium)
  const servers: RunningServer[] = []
  const problems: string[] = []
  return {
    ...{ folder, browser, problems },
    async serve(options) {
      const server = await startServer({
        ...{ engine: cpuEngine(), port: 0, pollMs: 0, logger: pino({ level: 'silent' }) },
        pageFolders: { page, runtime },
        ...options,
      })
      servers.push(server)
      return server
    },
    async open({ url }) {
      const opened = await browser.newPage()
      opened.on('pageerror', error => problems.push(String(error)))
      opened.on('console', message => {
        if (message.type() === 'error') problems.push(`${message.text()} ${message.location().url ?? ''}`)
      })
      await opened.goto(url)
      return opened
    },
    async close() {
      await browser.close()
      for (const server of servers) await server.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
