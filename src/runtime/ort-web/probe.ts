/** Which of the browser's engines work here, and the way from a name to an open engine. */

import { EnvironmentError } from '../../util/errors.ts'
import type { Engine } from '../engine.ts'
import type { EngineReport } from '../engines.ts'
import { wasmEngine, webgpuEngine } from './engine.ts'
import type { WebOptions } from './load.ts'
import { describeAdapter, findAdapter, isIsolated, isSoftware, threadCount } from './platform.ts'

/** Fastest first. */
export const WEB_ENGINES = { webgpu: webgpuEngine, wasm: wasmEngine } as const

export type WebEngineName = keyof typeof WEB_ENGINES

export interface WebEngineReport extends EngineReport {
  readonly name: WebEngineName
}

/** What each engine would run on; nothing is loaded for it. */
export async function probeWebEngines(): Promise<readonly WebEngineReport[]> {
  return [await probeWebgpu(), probeWasm()]
}

async function probeWebgpu() {
  const adapter = await findAdapter()
  const name = 'webgpu' as const
  if (typeof adapter === 'string') {
    const cure = 'use a recent Chrome, Edge, Safari or Firefox with hardware acceleration switched on'
    return { name, works: false, found: adapter, cure, accelerated: false }
  }
  const software = isSoftware(adapter)
  const found = describeAdapter(adapter) + (software ? ' (a program, no GPU: slower than WebAssembly)' : '')
  return { name, works: true, found, cure: null, accelerated: !software }
}

function probeWasm() {
  const name = 'wasm' as const
  const works = typeof (globalThis as { WebAssembly?: object }).WebAssembly === 'object'
  if (!works) {
    const cure = 'use a browser that allows WebAssembly'
    return { name, works, found: 'this browser has no WebAssembly', cure, accelerated: false }
  }
  const threads = threadCount()
  if (isIsolated()) {
    const found = threads === 1 ? 'one processor' : `${threads} threads`
    return { name, works, found, cure: null, accelerated: false }
  }
  const cure =
    'for all processors, serve the page with the headers Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp, as `swa-onnx browser` does'
  return { name, works, found: 'one thread: the page is not cross-origin isolated', cure, accelerated: false }
}

/** Opens an engine by name; `auto` takes the preferred one. */
export async function openWebEngine(name: WebEngineName | 'auto', options: WebOptions = {}): Promise<Engine> {
  if (name !== 'auto') return WEB_ENGINES[name](options)
  const reports = await probeWebEngines()
  const chosen = preferredWebEngine(reports)
  if (chosen === null) {
    const found = reports.map(report => `${report.name}: ${report.found}`).join('; ')
    throw new EnvironmentError(`no engine works in this browser (${found})`, { cure: reports[1]!.cure! })
  }
  return WEB_ENGINES[chosen](options)
}

/** WebGPU where there is a real GPU, else WebAssembly; null when nothing works. */
export function preferredWebEngine(reports: readonly WebEngineReport[]): WebEngineName | null {
  const working = reports.filter(({ works }) => works)
  return (working.find(({ accelerated }) => accelerated) ?? working.at(-1))?.name ?? null
}
