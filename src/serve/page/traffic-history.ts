/** From counters that are read each second to what happened in each second. */

import type { PageTraffic, VersionTraffic } from '../http/page-messages.ts'
import { countedSince, quantile } from './histogram.ts'

/** What a version did between two readings. */
export interface TrafficPoint {
  /** Seconds since 1970. */
  readonly time: number
  /** Per second; those that failed are among them. */
  readonly requests: number
  /** Per second. */
  readonly failures: number
  /** Milliseconds; null where no request was answered. */
  readonly p50: number | null
  readonly p99: number | null
  /** Requests that waited or ran at the second reading. */
  readonly pending: number
}

export const SECONDS_SHOWN = 120
/** At one reading each second. */
const MOST_POINTS = SECONDS_SHOWN

/** The name by which versions are told apart. */
export function versionKey({ name, version }: { readonly name: string; readonly version: string }): string {
  return `${name}:${version}`
}

export class TrafficHistory {
  #last: PageTraffic | null = null
  readonly #points = new Map<string, TrafficPoint[]>()

  add(traffic: PageTraffic): void {
    const seconds = this.#last === null ? 0 : (traffic.time - this.#last.time) / 1000
    const before = new Map(this.#last?.versions.map(version => [versionKey(version), version]))
    this.#last = traffic
    if (seconds <= 0) return
    for (const version of traffic.versions) {
      const point = pointBetween(before.get(versionKey(version)), version, traffic.time / 1000, seconds)
      if (point === null) continue
      const points = this.#points.get(versionKey(version)) ?? []
      this.#points.set(versionKey(version), [...points, point].slice(-MOST_POINTS))
    }
  }

  /** Forgets the last reading: nobody looked, so what happened since is not of one second. */
  interrupt(): void {
    this.#last = null
  }

  of(version: { readonly name: string; readonly version: string }): readonly TrafficPoint[] {
    return this.#points.get(versionKey(version)) ?? []
  }
}

function pointBetween(
  before: VersionTraffic | undefined,
  after: VersionTraffic,
  time: number,
  seconds: number,
): TrafficPoint | null {
  if (before === undefined) return null
  const success = after.success - before.success
  const failures = after.failures - before.failures
  const latency = countedSince(before.latency, after.latency)
  // Counters that fell are those of a version that was loaded again.
  if (success < 0 || failures < 0 || latency === null) return null
  const ms = (q: number) => {
    const found = quantile(q, latency)
    return found === null ? null : 1000 * found
  }
  return {
    time,
    requests: (success + failures) / seconds,
    failures: failures / seconds,
    p50: ms(0.5),
    p99: ms(0.99),
    pending: after.pending,
  }
}
