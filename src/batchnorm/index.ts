/** Batch normalization after averaging: running statistics that fit the averaged weights. */

export { diagnoseBatchNorm, type BatchNormDiagnosis } from './diagnose.ts'
export { driftOf, type Drift } from './drift.ts'
export { PooledStatistics, type BatchNormMode, type ChannelStatistics } from './pooled-statistics.ts'
export {
  recalibrate,
  type Batch,
  type OpenRunner,
  type RecalibrationOptions,
  type RecalibrationProgress,
  type RecalibrationReport,
  type SiteReport,
  type StatisticsRunner,
} from './recalibrate.ts'
export { groupSites, type StatisticsGroup } from './sites.ts'
export { buildStatisticsGraph, type SiteOutputs, type StatisticsGraph } from './statistics-graph.ts'
