/**
 * Models exported for training are evaluated in inference form: BatchNormalization with training_mode uses the batch's
 * statistics (and ONNX Runtime overwrites the stored ones in place), Dropout drops.
 */

import { toInferenceForm } from '../passes/index.ts'
import type { ModelSource } from '../runtime/engine.ts'
import { loadModel, serializeModel, type ModelFile } from '../serde/index.ts'

/** What to open for evaluating a model file: its path, or the bytes of its inference form where they differ. */
export async function evaluationSource(path: string): Promise<ModelSource> {
  const file = await loadModel(path)
  try {
    return await inferenceSource(file, path)
  } finally {
    await file.close()
  }
}

/** What to open for evaluating an open model: `source`, where it came from, unless its inference form differs. */
export async function inferenceSource<Source extends ModelSource>(
  file: ModelFile,
  source: Source,
): Promise<Source | Uint8Array> {
  const { model, modified } = toInferenceForm(file.model)
  return modified ? serializeModel(model) : source
}
