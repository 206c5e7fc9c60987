/** Looking at models without training them: what is inside, what they get right. */

import { evaluationLoader, inputSpecs, transformsForInputs, type ImageOptions } from '../eval/loading.ts'
import { evaluateModel } from '../eval/evaluate.ts'
import { inferenceSource } from '../eval/inference-form.ts'
import { inspectOpen, type Inspection, type InspectOptions } from '../eval/inspect.ts'
import type { Metrics } from '../eval/metrics.ts'
import { chooseTask, measureFor } from '../eval/task.ts'
import { findLogits } from '../passes/index.ts'
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
  const transforms = transformsForInputs(dataset, inputSpecs(file.model), images)
  const found = findLogits(file.model, output)
  const shape = found.output.type?.kind === 'tensor' ? found.output.type.shape : null
  const measure = measureFor(chooseTask(found.activation, shape, dataset), found.activation)
  return evaluateModel(
    engine,
    await inferenceSource(file, model),
    fixed => evaluationLoader(dataset, transforms, fixed ?? batchSize).batches(0, 0, signal),
    { ...measure, output: found.output.name, signal, ...(onProgress ? { onProgress } : {}) },
  )
}
