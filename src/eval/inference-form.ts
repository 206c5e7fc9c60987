/**
 * Models exported for training are evaluated in inference form: BatchNormalization with training_mode uses the batch's
 * statistics (and ONNX Runtime overwrites the stored ones in place), Dropout drops.
 */

import { toInferenceForm } from '../passes/index.ts'
import type { ModelSource } from '../runtime/engine.ts'
import { loadModel, serializeModel } from '../serde/index.ts'

/** What to open for evaluating a model file: its path, or the bytes of its inference form where they differ. */
export async function evaluationSource(path: string): Promise<ModelSource> {
  const file = await loadModel(path)
  try {
    const { model, modified } = toInferenceForm(file.model)
    return modified ? await serializeModel(model) : path
  } finally {
    await file.close()
  }
}
