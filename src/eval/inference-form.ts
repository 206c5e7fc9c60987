/**
 * The form in which a model file is evaluated, where it is not the file as it is:
 * - exported for training: BatchNormalization with training_mode uses the batch's statistics (and ONNX Runtime overwrites
 *   the stored ones in place), Dropout drops;
 * - of bfloat16, for which ONNX Runtime has few kernels: float32 holds every bfloat16 number.
 */

import type { Model } from '../ir/graph.ts'
import {
  cloneModel,
  inlineFunctions,
  liftConstants,
  otherFloats,
  toFloat32,
  toInferenceForm,
  withoutFunctions,
  type PassResult,
} from '../passes/index.ts'
import type { ModelSource } from '../runtime/engine.ts'
import { loadModel, serializeModel, type ModelFile } from '../serde/index.ts'
import type { Tensor } from '../tensor/tensor.ts'

const BFLOAT16_NOTE =
  'the model is of bfloat16, for which ONNX Runtime has few kernels: it is evaluated in float32, weights as the file rounds them'

/** What to open for evaluating a model file: its path, or the bytes of the form that is evaluated where that differs. */
export async function evaluationSource(path: string): Promise<ModelSource> {
  const file = await loadModel(path)
  try {
    return await inferenceSource(file, path)
  } finally {
    await file.close()
  }
}

/** What to open for evaluating an open model: `source`, where it came from, unless another form is evaluated. */
export async function inferenceSource<Source extends ModelSource>(
  file: ModelFile,
  source: Source,
): Promise<Source | Uint8Array> {
  const { model, modified } = await evaluatedForm(file.model)
  return modified ? serializeModel(model) : source
}

/** The form of a model that is evaluated: a copy, which is not the model's own form where it was modified. */
export async function evaluatedForm(source: Model): Promise<PassResult> {
  const computable = await computableForm(source)
  const { model, modified } = toInferenceForm(cloneModel(withoutFunctions(computable.model)).model)
  return { model, modified: modified || computable.modified }
}

export interface ComputableForm extends PassResult {
  /** Tensor of the form -> the file's, where they are not one. */
  readonly originals: ReadonlyMap<Tensor, Tensor>
}

/** A model whose operators ONNX Runtime has: itself, or of bfloat16 a copy that computes in float32. */
export async function computableForm(model: Model): Promise<ComputableForm> {
  const plain = plainCopy(model)
  return isBfloat16(plain) ? toFloat32(plain) : { model, modified: false, originals: new Map() }
}

/** What a person should know about the form in which a model is evaluated. */
export function formNotes(model: Model): readonly string[] {
  return isBfloat16(plainCopy(model)) ? [BFLOAT16_NOTE] : []
}

/** Without local functions, all weights initializers. */
function plainCopy(source: Model): Model {
  const { model } = cloneModel(source)
  inlineFunctions(model)
  return liftConstants(model).model
}

const isBfloat16 = (model: Model) => otherFloats(model).has('bfloat16')
