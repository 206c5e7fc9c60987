/** A model file and data -> the same model with batch-norm statistics of these data. */

import type { BatchNormMode } from '../batchnorm/index.ts'
import { openDataset, type Transforms } from '../data/index.ts'
import { refuseQuantized } from '../passes/index.ts'
import type { Engine } from '../runtime/engine.ts'
import { loadModel } from '../serde/index.ts'
import { calibrateFile, type Calibration, type CalibrationContext } from './calibrate.ts'
import { inputSpecs, transformsForInputs, type DataOptions } from './loading.ts'

export interface RecalibrateModelOptions {
  readonly model: string
  readonly data: string
  /** The file to write. */
  readonly out: string
  readonly mode: BatchNormMode
  readonly batchSize: number
  readonly dataOptions?: DataOptions
  readonly threads?: number
}

export interface RecalibratedModel extends Calibration {
  readonly model: string
  readonly out: string
  readonly mode: BatchNormMode
  readonly data: { readonly name: string; readonly samples: number }
  readonly transforms: Readonly<Record<string, Transforms>>
}

/** Recomputes the statistics and writes the model; every other byte of it stays. */
export async function recalibrateModel(
  engine: Engine,
  options: RecalibrateModelOptions,
  context: CalibrationContext = {},
): Promise<RecalibratedModel> {
  const { model, data, out, mode, batchSize, dataOptions = {}, threads } = options
  const file = await loadModel(model)
  try {
    refuseQuantized(file.model)
    const dataset = await openDataset(data, { ...dataOptions, model: inputSpecs(file.model) })
    const transforms = transformsForInputs(dataset, inputSpecs(file.model), dataOptions)
    const settings = { out, mode, batchSize, seed: dataOptions.seed ?? 0, transforms }
    const limits = threads === undefined ? {} : { threads }
    const calibration = await calibrateFile(engine, file, dataset, { ...settings, ...limits }, context)
    return {
      ...calibration,
      ...{ model, out, mode, transforms },
      data: { name: dataset.name, samples: dataset.length },
      notes: [...dataset.notes, ...calibration.notes],
    }
  } finally {
    await file.close()
  }
}
