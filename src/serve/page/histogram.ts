/** Quantiles of what a histogram counted between two readings. */

import type { VersionTraffic } from '../http/page-messages.ts'

/** Counts are cumulative: values of at most each bound. */
export type Histogram = VersionTraffic['latency']

/** What was counted after `before`; null where the counters began anew, or nothing can be compared. */
export function countedSince(before: Histogram, after: Histogram): Histogram | null {
  // A version has no histogram before its first request.
  if (before.counts.length === 0) return after
  if (before.counts.length !== after.counts.length) return null
  const counts = after.counts.map((count, i) => count - before.counts[i]!)
  return counts.some(count => count < 0) ? null : { bounds: after.bounds, counts }
}

/**
 * The value below which the share `q` of the counted ones lies, as Prometheus' histogram_quantile finds it: values lie
 * evenly in their bucket, of which the first begins at 0; in the last one, which has no end, the value is where it begins.
 * null where nothing was counted.
 */
export function quantile(q: number, { bounds, counts }: Histogram): number | null {
  const total = counts.at(-1) ?? 0
  if (total === 0) return null
  const rank = q * total
  const at = counts.findIndex(count => count >= rank && count > 0)
  const low = at === 0 ? 0 : bounds[at - 1]!
  const high = bounds[at]
  if (high === null || high === undefined) return low
  const below = at === 0 ? 0 : counts[at - 1]!
  return low + ((high - low) * (rank - below)) / (counts[at]! - below)
}
