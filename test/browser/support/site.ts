/** The built page with the tests' own bundle beside it, served to a Chromium. */

import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Browser, Page } from 'puppeteer-core'
import { serveStatic } from '../../../src/serve/static-files.ts'
import { buildBrowser, buildPage } from '../../../tools/build/browser.mjs'
import { launchChromium } from '../../support/chromium.ts'

export interface Site {
  readonly url: string
  /** Where downloads of the page arrive. */
  readonly downloads: string
  readonly browser: Browser
  /** A page of the site; errors in it are collected in `problems`. */
  open(): Promise<Page>
  readonly problems: readonly string[]
  close(): Promise<void>
}

/** Builds and serves the page; `files`: name in the site -> file. */
export async function openSite(chromium: string, files: Readonly<Record<string, string>>): Promise<Site> {
  const folder = mkdtempSync(join(tmpdir(), 'swa-site-'))
  const root = join(folder, 'page')
  await buildBrowser(folder)
  const entryPoints = { 'page-entry': join(import.meta.dirname, 'page-entry.ts') }
  await buildPage(root, { entryPoints, chunkNames: 'test-[name]-[hash]' })
  for (const [name, path] of Object.entries(files)) copyFileSync(path, join(root, name))
  const server = await serveStatic(root, 0)
  const browser = await launchChromium(chromium)
  const downloads = join(folder, 'downloads')
  const problems: string[] = []
  return {
    ...{ url: server.url, downloads, browser, problems },
    async open() {
      const page = await browser.newPage()
      page.on('pageerror', error => problems.push(String(error)))
      page.on('console', message => {
        if (message.type() === 'error') problems.push(message.text())
      })
      const session = await page.createCDPSession()
      await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: downloads })
      await page.goto(server.url)
      return page
    },
    async close() {
      await browser.close()
      await server.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** Calls a function of page-entry.ts in a page. */
export async function callInPage<T>(page: Page, name: string, ...args: readonly unknown[]): Promise<T> {
  const list = args.map(argument => JSON.stringify(argument)).join()
  return (await page.evaluate(`import('./page-entry.js').then(entry => entry.${name}(${list}))`)) as T
}
