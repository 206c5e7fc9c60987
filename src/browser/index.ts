/** `swa-onnx/browser`: fine-tuning in a web page, from the same sources as the commands. */

// Whole jobs.
export {
  finetuneInBrowser,
  type BrowserCandidate,
  type BrowserFinetune,
  type BrowserResult,
} from './finetune.ts'
export type { ArrayData, BrowserData } from './data.ts'
export type { BrowserEvent } from './events.ts'
export { defaultSchedule, DEFAULT_LR, DEFAULT_SETTINGS, type BrowserOptions } from './options.ts'
export { evaluateInBrowser, inspectInBrowser, type BrowserEvaluation } from './look.ts'
export { openImages, type ImageFile, type ImageParts } from './images.ts'

// Engines.
export {
  openWebEngine,
  preferredWebEngine,
  probeWebEngines,
  wasmEngine,
  webgpuEngine,
  type WebEngineName,
  type WebEngineReport,
  type WebOptions,
} from '../runtime/ort-web/index.ts'
export type { Engine, Port, Runner, SessionOptions, Trainer, Traffic } from '../runtime/engine.ts'
export type { EngineReport } from '../runtime/engines.ts'

// The parts that a run is made of.
export { openModelBytes, patchModel, serializeModel, type ModelFile } from '../serde/index.ts'
export { prepareTraining, type PrepareOptions, type TrainingGraph } from '../train/prepare.ts'
export { buildProgram, type ProgramOptions, type TrainingProgram } from '../train/program.ts'
export { initialState } from '../train/initial-state.ts'
export { runLoop, type LoopOptions } from '../train/loop.ts'
export { placeWeights, weightsOfState, type Weights } from '../train/weights.ts'
export {
  isSnapshot,
  learningRateAt,
  planSchedule,
  type BaseSpec,
  type SchedulePlan,
  type ScheduleSpec,
  type SwaRateSpec,
} from '../train/schedules.ts'
export type { OptimizerSpec } from '../train/optimizers.ts'
export type { RunSettings, Select } from '../train/options.ts'
export { graphFingerprint, SnapshotAverage } from '../averaging/index.ts'
export { diagnoseBatchNorm, recalibrate } from '../batchnorm/index.ts'
export { evaluateModel } from '../eval/evaluate.ts'
export { MetricsAccumulator, type Measure, type Metrics } from '../eval/metrics.ts'
export type { Inspection } from '../eval/inspect.ts'
export type { ImageOptions } from '../eval/loading.ts'

// Data.
export { ArrayDataset } from '../data/array-dataset.ts'
export type { Dataset } from '../data/dataset.ts'
export { decodeIdx } from '../data/idx.ts'
export { BatchLoader, type Batch } from '../data/loader.ts'
export { splitDataset } from '../data/subset.ts'
export { PRESETS, type PresetName, type Transforms } from '../data/transforms.ts'

export { Tensor } from '../tensor/tensor.ts'
export {
  EnvironmentError,
  InputError,
  InterruptedError,
  SwaError,
  UnsupportedError,
  UsageError,
} from '../util/errors.ts'
export { VERSION } from '../util/version.ts'
