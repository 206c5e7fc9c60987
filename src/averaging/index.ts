/** Weight averaging: exact means of checkpoints, streamed; partial averages that merge; the guard against unlike models. */

export {
  mergePartials,
  runAverage,
  type AverageProgress,
  type AverageReport,
  type RunOptions,
} from './average.ts'
export {
  openCheckpoint,
  type Checkpoint,
  type CheckpointFormat,
  type CheckpointTensor,
} from './checkpoint.ts'
export { memberDigest, tensorDigest, type TensorDigest } from './digest.ts'
export { fingerprintOf, graphFingerprint } from './fingerprint.ts'
export { describeModel, type Fact } from './graph-description.ts'
export { matchGraphs, type DescribedFile } from './match.ts'
export type { MemberRecord } from './members.ts'
export { METHODS, type Method, type MethodKind } from './methods.ts'
export { modelWeights, type ModelWeight } from './model-weights.ts'
export { openPartial, writePartial, type Partial, type PartialTensor } from './partial.ts'
export type { Mapping, PlaceChoices } from './place-choices.ts'
export type { Placed } from './placing.ts'
export {
  planAverage,
  type AverageOptions,
  type AveragePlan,
  type PlannedFile,
  type PlannedTensor,
  type TensorPolicy,
} from './plan.ts'
export { averageMetadata } from './provenance.ts'
export { roundMean, type AveragedDType } from './rounding.ts'
export {
  RunningAverage,
  type RunningAverageOptions,
  type Snapshot,
  type VectorSegment,
} from './running-average.ts'
export { SnapshotAverage } from './snapshot-average.ts'
export { MeanSource } from './streaming.ts'
export type { Summand, SummedTensor } from './summand.ts'
export { Summer } from './summer.ts'
export { openSwag, type DrawOptions, type Swag } from './swag.ts'
export { drawModel } from './swag-draw.ts'
export { SumBlock } from './sum-block.ts'
export { wholeWeights } from './weights.ts'
export { listCheckpoints } from './checkpoint-list.ts'
