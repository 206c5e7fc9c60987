/** How far running statistics moved, in numbers that compare across layers. */

import type { ChannelStatistics } from './pooled-statistics.ts'

export interface Drift {
  /** The largest move of a channel's mean, in old standard deviations: |new - old| / sqrt(old variance + epsilon). */
  readonly meanDrift: number
  /** The largest factor between a channel's old and new variance (epsilon added), as a number of 1 or more. */
  readonly varianceDrift: number
}

export function driftOf(before: ChannelStatistics, after: ChannelStatistics, epsilon: number): Drift {
  let meanDrift = 0
  let varianceDrift = 1
  before.mean.forEach((mean, channel) => {
    const old = before.variance[channel]! + epsilon
    const ratio = (after.variance[channel]! + epsilon) / old
    meanDrift = Math.max(meanDrift, Math.abs(after.mean[channel]! - mean) / Math.sqrt(old))
    varianceDrift = Math.max(varianceDrift, ratio, 1 / ratio)
  })
  return { meanDrift, varianceDrift }
}
