/** Data for a model: which transforms its inputs need, and batches of the size it takes. */

import {
  BatchLoader,
  transformsFor,
  type Dataset,
  type Field,
  type PresetName,
  type Transforms,
} from '../data/index.ts'
import type { DType } from '../tensor/dtype.ts'
import { InputError } from '../util/errors.ts'

/** A model input as far as its data are concerned. */
export interface InputSpec {
  readonly name: string
  readonly dtype: DType | null
  readonly shape: readonly (number | string | null)[]
}

/** Transforms of each field of a data set for the model input that it feeds, by field name. */
export function transformsForInputs(
  dataset: Dataset,
  inputs: readonly InputSpec[],
  preset?: PresetName,
): Record<string, Transforms> {
  const transforms = dataset.fields.map(field => {
    const { shape, dtype } = inputFor(field, inputs)
    const integer = dtype === 'int64' || dtype === 'int32'
    const options = { ...(preset ? { preset } : {}), dtype: integer ? dtype : ('float32' as const) }
    return [field.name, transformsFor(shape, field, options)] as const
  })
  return Object.fromEntries(transforms)
}

/** Every sample once, in order, without augmentation. */
export function evaluationLoader(
  dataset: Dataset,
  transforms: Readonly<Record<string, Transforms>>,
  batchSize: number,
): BatchLoader {
  return new BatchLoader(dataset, { batchSize, seed: 0, mode: 'eval', transforms })
}

/** Fields are named by model input, or by a decimal number: the input at that position. */
function inputFor(field: Field, inputs: readonly InputSpec[]): InputSpec {
  const byPosition = /^\d+$/.test(field.name) ? inputs[Number(field.name)] : undefined
  const found = inputs.find(input => input.name === field.name) ?? byPosition
  if (found) return found
  const names = inputs.map(input => `"${input.name}"`).join(', ')
  throw new InputError(`data: no model input is called "${field.name}", found ${names}`, {
    cure: 'name the arrays of the data after the model inputs',
  })
}
