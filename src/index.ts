/** The public API: everything that the command line does, as library calls, and the parts that they are made of. */

// Whole jobs: options in, files and a report out.
export { finetune, planRun } from './train/finetune.ts'
export type { Candidate, FinetuneResult } from './train/finish.ts'
export type { FinetuneContext, FinetuneEvent, FinetuneOptions, Select } from './train/options.ts'
export type { FinetunePlan } from './train/plan.ts'
export type { OptimizerSpec } from './train/optimizers.ts'
export type { TrainingSettings } from './train/training-settings.ts'
export type { ClipSpec, EmaSpec, ParameterGroup } from './train/update.ts'
export type { BaseSpec, ScheduleSpec, SwaRateSpec } from './train/schedules.ts'
export { averageModel, type AverageModelOptions, type AverageResult } from './eval/average-model.ts'
export {
  recalibrateModel,
  type RecalibratedModel,
  type RecalibrateModelOptions,
} from './eval/recalibrate-model.ts'
export { evaluateModels, type EvaluationOptions, type EvaluationReport } from './eval/compare.ts'
export { crossValidateModels, type EngineComparison } from './eval/compare-engines.ts'
export { crossValidate, type CrossValidation, type CrossValidationOptions } from './eval/cross-validate.ts'
export type { Difference } from './eval/difference.ts'
export type { Parting } from './eval/find-parting.ts'
export { calibrateFile, type Calibration, type CalibrationSettings } from './eval/calibrate.ts'
export { inspectModel, type InspectOptions, type Inspection } from './eval/inspect.ts'
export type { ClassFigures, Measure, Metrics, OutputKind, Task } from './eval/metrics.ts'
export { METRICS, metricInfo, scoreOf, type MetricInfo, type MetricName } from './eval/score.ts'
export type { DataOptions, ImageOptions } from './eval/loading.ts'
export { diagnose, type MachineReport } from './runtime/diagnose.ts'

// Engines.
export { cpuEngine } from './runtime/ort-cpu/engine.ts'
export { chooseEngine, type ChosenEngine } from './runtime/choose-engine.ts'
export { ENGINE_NAMES, type EngineOptions, type EngineReport } from './runtime/engines.ts'
export type {
  Capabilities,
  Engine,
  ModelSource,
  Port,
  Precision,
  Runner,
  SessionOptions,
  Traffic,
  Trainer,
} from './runtime/engine.ts'

// Averages.
export {
  drawModel,
  fingerprintOf,
  listCheckpoints,
  mergePartials,
  openSwag,
  planAverage,
  runAverage,
  RunningAverage,
  type AverageOptions,
  type AveragePlan,
  type AverageReport,
  type DrawOptions,
  type Method,
  type RunOptions,
  type Swag,
} from './averaging/index.ts'
export { evaluateBayes, type BayesOptions, type BayesReport } from './eval/bayes.ts'

// Batch normalization.
export {
  diagnoseBatchNorm,
  recalibrate,
  type BatchNormDiagnosis,
  type BatchNormMode,
  type RecalibrationReport,
} from './batchnorm/index.ts'

// Data.
export {
  BatchLoader,
  openDataset,
  openTrainAndVal,
  transformsFor,
  type Batch,
  type Dataset,
  type OpenOptions,
  type Transforms,
} from './data/index.ts'

// Models: read, look into, change, write.
export {
  loadModel,
  openSafetensors,
  saveModel,
  serializeModel,
  writePatched,
  writeSafetensors,
  type ModelFile,
  type Safetensors,
} from './serde/index.ts'
export {
  classifyWeights,
  findBatchNorms,
  findLogits,
  type WeightInfo,
  type WeightPatterns,
} from './passes/index.ts'
export { differentiate, RULES } from './autodiff/index.ts'
export { Builder } from './ir/builder.ts'
export { Graph, Model } from './ir/graph.ts'
export { Node } from './ir/node.ts'
export { Value } from './ir/value.ts'
export { Tensor } from './tensor/tensor.ts'
export type { DType } from './tensor/dtype.ts'

// Serving: a server, and a client of any server of the Open Inference Protocol.
export {
  InferenceClient,
  InferenceError,
  startServer,
  type ClientOptions,
  type ClientTensor,
  type InferOptions,
  type InferResult,
  type RunningServer,
  type ServeOptions,
} from './serve/index.ts'

// Errors: each carries the exit code of the command line and, where known, the cure.
export {
  CheckError,
  EnvironmentError,
  InputError,
  InterruptedError,
  SwaError,
  UnsupportedError,
  UsageError,
} from './util/errors.ts'
export { VERSION } from './util/version.ts'
