/** Looking at models without training them: what is inside, what they get right. */

import { measuredData, planOpen } from '../eval/compare.ts'
import { evaluateModel } from '../eval/evaluate.ts'
import { inferenceSource } from '../eval/inference-form.ts'
import { inspectOpen, type Inspection, type InspectOptions } from '../eval/inspect.ts'
import type { ImageOptions } from '../eval/loading.ts'
import type { Metrics } from '../eval/metrics.ts'
import type { Engine } from '../runtime/engine.ts'
import { openModelBytes } from '../serde/index.ts'
import { datasetOf, type BrowserData } from './data.ts'

/** What is in a model and what fine-tuning would make of it; `obstacles` is empty when it can be trained. */
export async function inspectInBrowser(
  model: Uint8Array,
  name = 'model.onnx',
  options: InspectOptions = {},
): Promise<Inspection> {
  return inspectOpen(await openModelBytes(model, name), model.byteLength, options)
}

export interface BrowserEvaluation {
  readonly images?: ImageOptions
  readonly batchSize?: number
  /** The output to measure. */
  readonly output?: string
  readonly signal?: AbortSignal
  readonly onProgress?: (samples: number) => void
}

/** Measures a model on labelled data. */
export async function evaluateInBrowser(
  engine: Engine,
  model: Uint8Array,
  data: BrowserData,
  { images = {}, batchSize = 32, output, signal, onProgress }: BrowserEvaluation = {},
): Promise<Metrics> {
  const file = await openModelBytes(model)
  const dataset = datasetOf(data)
  const plan = planOpen(file.model, output)
  const { measured, batches } = measuredData(plan, dataset, { dataOptions: images, batchSize }, signal)
  const options = { measured, signal, ...(onProgress ? { onProgress } : {}) }
  return evaluateModel(engine, await inferenceSource(file, model), batches, options)
}
