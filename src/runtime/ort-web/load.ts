/** Loads one of onnxruntime-web's bundles, once a page or worker, with the settings of its first use. */

import type * as OrtWeb from 'onnxruntime-web'
import { EnvironmentError, messageOf } from '../../util/errors.ts'
import { threadCount } from './platform.ts'

export type OrtWebModule = typeof OrtWeb

/** `wasm` is the smaller and faster one on the CPU; `webgpu` has both providers. */
export type WebBundle = 'wasm' | 'webgpu'

export interface WebOptions {
  /**
   * URL of the folder with onnxruntime-web's `ort-wasm-simd-threaded*` files, ending in `/`; by default where the bundler
   * put them. Counts at the first use of a bundle, as `threads` does.
   */
  readonly wasmPaths?: string
  /** Threads of WebAssembly; by default all processors, or one where the page is not cross-origin isolated. */
  readonly threads?: number
}

/** A loaded bundle. Its WebAssembly instance takes one call at a time, of whichever session. */
export interface LoadedOrt {
  readonly ort: OrtWebModule
  readonly threads: number
  /** Runs a task when those before it are done. */
  readonly inTurn: <T>(task: () => Promise<T>) => Promise<T>
}

const BUNDLES: Readonly<Record<WebBundle, () => Promise<OrtWebModule>>> = {
  wasm: () => import('onnxruntime-web/wasm'),
  webgpu: () => import('onnxruntime-web/webgpu'),
}

const loaded = new Map<WebBundle, Promise<LoadedOrt>>()

export function loadOrtWeb(bundle: WebBundle, options: WebOptions): Promise<LoadedOrt> {
  const known = loaded.get(bundle)
  if (known) return known
  const loading = load(bundle, options)
  loaded.set(bundle, loading)
  return loading
}

async function load(
  bundle: WebBundle,
  { wasmPaths, threads = threadCount() }: WebOptions,
): Promise<LoadedOrt> {
  let ort: OrtWebModule
  try {
    ort = await BUNDLES[bundle]()
  } catch (error) {
    loaded.delete(bundle)
    throw new EnvironmentError(`onnxruntime-web/${bundle} could not be loaded: ${messageOf(error)}`, {
      cause: error,
      cure: 'check that the page can reach the files of onnxruntime-web',
    })
  }
  ort.env.logLevel = 'error'
  ort.env.wasm.numThreads = threads
  if (wasmPaths !== undefined) ort.env.wasm.wasmPaths = wasmPaths
  let last: Promise<unknown> = Promise.resolve()
  return {
    ort,
    threads,
    inTurn: task => {
      const result = last.then(task)
      last = result.catch(() => undefined)
      return result
    },
  }
}
