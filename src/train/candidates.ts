/** The models that a run ends with: what they say about themselves, and which of them is delivered. */

import type { Metrics } from '../eval/metrics.ts'
import { scoreOf } from '../eval/score.ts'
import { VERSION } from '../util/version.ts'
import type { Select } from './options.ts'
import { planDigest, type FinetunePlan } from './plan.ts'

/** The models that a run compares. */
export type CandidateName = 'start' | 'last' | 'best' | 'ema' | 'swa'

export interface Measured {
  readonly name: CandidateName
  /** Optimizer steps behind it. */
  readonly step: number
  /** On the validation data; null without any. */
  readonly metrics: Metrics | null
}

/** What a model of a run says about how it was made. */
export function metadataOf(
  plan: FinetunePlan,
  method: string,
  snapshots: readonly number[],
): Map<string, string> {
  return new Map([
    ['swa_onnx.version', VERSION],
    ['swa_onnx.method', method],
    ['swa_onnx.plan', planDigest(plan)],
    ['swa_onnx.snapshots', JSON.stringify(snapshots)],
  ])
}

/** The delivered candidate, compared by a metric. Equal scores go to the average. */
export function select(candidates: readonly Measured[], wanted: Select, metric = 'auto'): CandidateName {
  if (wanted === 'ema') return 'ema'
  const measured = candidates.every(({ metrics }) => metrics !== null)
  if (wanted === 'swa' || !measured) return 'swa'
  return winner(wanted === 'best' ? candidates.filter(({ name }) => name !== 'start') : candidates, metric)
}

/** The candidate that validates best. */
export function winner(candidates: readonly Measured[], metric = 'auto'): CandidateName {
  const score = ({ metrics }: Measured) => (metrics ? scoreOf(metrics, metric) : -Infinity)
  const order: readonly CandidateName[] = ['swa', 'ema', 'best', 'last', 'start']
  const sorted = [...candidates].sort(
    (a, b) => score(b) - score(a) || order.indexOf(a.name) - order.indexOf(b.name),
  )
  return sorted[0]!.name
}
