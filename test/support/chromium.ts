/** A headless Chromium for end-to-end tests, with WebGPU on SwiftShader; or the reason why there is none. */

import { existsSync } from 'node:fs'
import puppeteer, { type Browser } from 'puppeteer-core'

const USUAL = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome-stable',
  '/usr/bin/google-chrome',
  '/snap/bin/chromium',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
]

const FLAGS = [
  // Tests run as root in containers; the only pages opened are our own.
  '--no-sandbox',
  '--disable-dev-shm-usage',
  // WebGPU by a program, where there is no GPU.
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
  '--use-vulkan=swiftshader',
]

/** The path of a Chromium (or Chrome): CHROMIUM in the environment, or a usual place. */
export function findChromium(): string | null {
  const named = process.env['CHROMIUM']
  return (named ? [named] : USUAL).find(existsSync) ?? null
}

/** What a test says that is not tried for want of a browser. */
export const NO_CHROMIUM = 'no Chromium here (set CHROMIUM to its path)'

export async function launchChromium(executablePath: string): Promise<Browser> {
  return puppeteer.launch({ executablePath, headless: true, args: FLAGS, protocolTimeout: 180_000 })
}
