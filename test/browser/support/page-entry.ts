/** Bundled for the browser by the tests: what they call in a page. */

import { openWebEngine, type Engine, type WebEngineName } from '../../../src/browser/index.ts'
import type { Runner } from '../../../src/runtime/engine.ts'
import type { DType } from '../../../src/tensor/dtype.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { openImages } from '../../../src/browser/images.ts'
import { runSteps, type StepsRequest, type StepsResult } from './ten-steps.ts'

/** Ten steps on an engine of this browser, of the model at a URL. */
export async function stepsHere(
  name: WebEngineName,
  modelUrl: string,
  request: StepsRequest,
): Promise<StepsResult> {
  const engine = await openWebEngine(name, { wasmPaths: new URL('ort/', import.meta.url).href })
  return runSteps(engine, new Uint8Array(await (await fetch(modelUrl)).arrayBuffer()), request)
}

/** A tensor between Node and a page. */
export interface SentTensor {
  readonly name: string
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly base64: string
}

const engines = new Map<WebEngineName, Promise<Engine>>()
/** The last session of each engine: with the last one of all, WebGPU's compiled shaders would go. */
const kept = new Map<WebEngineName, Runner>()

/** All outputs of a model on an engine of this browser. */
export async function outputsHere(
  name: WebEngineName,
  model: string,
  feeds: readonly SentTensor[],
): Promise<SentTensor[]> {
  const opened =
    engines.get(name) ?? openWebEngine(name, { wasmPaths: new URL('ort/', import.meta.url).href })
  engines.set(name, opened)
  const runner = await (await opened).openRunner(bytesOf(model))
  try {
    const given = feeds.map(({ name, dtype, dims, base64 }) => {
      return [name, new Tensor(dtype, dims, bytesOf(base64))] as const
    })
    const found = await runner.run(new Map(given))
    return [...found].map(([name, { dtype, dims, data }]) => {
      return { name, dtype, dims, base64: textOf(data as Uint8Array) }
    })
  } finally {
    await kept.get(name)?.close()
    kept.set(name, runner)
  }
}

function bytesOf(base64: string): Uint8Array {
  return Uint8Array.from(atob(base64), character => character.charCodeAt(0))
}

function textOf(bytes: Uint8Array): string {
  return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''))
}

/** The pixels of an image file, as the data set of a chosen folder gives them. */
export async function pixelsHere(
  png: readonly number[],
): Promise<{ data: number[]; dims: readonly number[] }> {
  const blob = new Blob([Uint8Array.from(png)])
  const { train } = openImages([{ path: 'a/1.png', blob }])
  const { data, dims } = (await train.load(0)).inputs[0]!
  return { data: [...data], dims }
}
