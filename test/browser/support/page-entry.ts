/** Bundled for the browser by the tests: what they call in a page. */

import { openWebEngine, type WebEngineName } from '../../../src/browser/index.ts'
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

/** The pixels of an image file, as the data set of a chosen folder gives them. */
export async function pixelsHere(
  png: readonly number[],
): Promise<{ data: number[]; dims: readonly number[] }> {
  const blob = new Blob([Uint8Array.from(png)])
  const { train } = openImages([{ path: 'a/1.png', blob }])
  const { data, dims } = (await train.load(0)).inputs[0]!
  return { data: [...data], dims }
}
