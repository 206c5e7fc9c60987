/**
 * WebGPU without a GPU: SwiftShader, a Vulkan driver that computes on the CPU, comes with Chromium. Onnxruntime-node's WebGPU
 * provider runs on it where the Vulkan loader (libvulkan1) is installed too.
 */

import { existsSync, readdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'uvu'
import { webgpuEngine } from '../../src/runtime/ort-webgpu/engine.ts'
import { notTried } from './not-tried.ts'
import { MODELS } from './training.ts'

const ICD = 'vk_swiftshader_icd.json'

/** Where Debian, Ubuntu, Fedora, Chrome and puppeteer's downloads have it. */
const FOLDERS = [
  '/usr/lib/chromium',
  '/usr/lib/chromium-browser',
  '/usr/lib64/chromium-browser',
  '/snap/chromium/current/usr/lib/chromium-browser',
  '/opt/google/chrome',
]

/** Browsers that puppeteer fetched. */
function downloads(): string[] {
  const cache = join(homedir(), '.cache/puppeteer/chrome')
  if (!existsSync(cache)) return []
  return readdirSync(cache).map(version => join(cache, version, 'chrome-linux64'))
}

/** Where distributions have the Vulkan loader. */
const LOADERS = [
  '/usr/lib/x86_64-linux-gnu/libvulkan.so.1',
  '/usr/lib64/libvulkan.so.1',
  '/usr/lib/libvulkan.so.1',
]

/** The environment in which WebGPU runs on SwiftShader; null where there is none. */
export function swiftshader(): { readonly env: { readonly VK_DRIVER_FILES: string } } | null {
  if (process.platform !== 'linux' || process.arch !== 'x64') return null
  if (!LOADERS.some(file => existsSync(file))) return null
  const forced = process.env['VK_DRIVER_FILES'] ?? process.env['VK_ICD_FILENAMES'] ?? ''
  const known = [...FOLDERS, ...downloads()].map(folder => join(folder, ICD))
  const found = /swiftshader/i.test(forced) ? forced : known.find(file => existsSync(file))
  return found === undefined ? null : { env: { VK_DRIVER_FILES: found } }
}

/** A small model, whose session is open all the time. */
const KEEPER = join(MODELS, 'mlp-ts/model.onnx')

/**
 * Calls `register` where SwiftShader is there, with its environment set: sessions of this process run on it. Elsewhere
 * registers one test whose name says that nothing was tried. ONNX Runtime drops its compiled shaders with the last session of
 * a process, and compiling takes nearly all of SwiftShader's time: one session stays open until the end.
 */
export async function withSwiftshader(
  test: Pick<Test, 'after'> & ((name: string, run: () => void) => void),
  register: () => void | Promise<void>,
): Promise<void> {
  const found = swiftshader()
  if (!found) {
    const cure = 'on Debian: apt install chromium libvulkan1'
    notTried(test, `webgpu: there is no SwiftShader (${ICD}) or no Vulkan loader here; ${cure}`)
    return
  }
  Object.assign(process.env, found.env)
  const keeper = await webgpuEngine().openRunner(KEEPER)
  test.after(() => keeper.close())
  await register()
}
