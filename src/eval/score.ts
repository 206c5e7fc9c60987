/** One number that says which of two models is better on the same data. */

import { UsageError } from '../util/errors.ts'
import type { Metrics } from './metrics.ts'

/** Metrics of which less is better; of all others, more is. */
const LESS_IS_BETTER: ReadonlySet<string> = new Set(['loss', 'mae'])

/** Higher is better: by default accuracy where there is one, ties broken by the loss, else minus the loss; or a named metric. */
export function scoreOf(metrics: Metrics, metric?: string): number {
  if (metric !== undefined) return scoreBy(metrics, metric)
  const accuracy = metrics.top1 ?? metrics.accuracy
  if (accuracy === undefined) return -metrics.loss
  // A sample more or less outweighs any loss: accuracy moves in steps of 1/samples or more.
  const tie = 1 / (1 + Math.max(0, metrics.loss))
  return accuracy + (tie * 1e-3) / Math.max(1, metrics.samples)
}

/** A metric by its name, or minus it where less is better. */
function scoreBy({ samples: _, ...measured }: Metrics, metric: string): number {
  const value = new Map<string, unknown>(Object.entries(measured)).get(metric)
  if (typeof value === 'number') return LESS_IS_BETTER.has(metric) ? -value : value
  throw new UsageError(`metric: "${metric}" was not measured, found ${Object.keys(measured).join(', ')}`)
}

/** `top-1 98.70 %, loss 0.0412`. */
export function describeMetrics(metrics: Metrics): string {
  return metricCells(metrics)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ')
}

/** Names and values of what was measured, for tables. */
export function metricCells({ top1, top5, accuracy, mae, loss }: Metrics): [name: string, value: string][] {
  const percent = (share: number) => `${(100 * share).toFixed(2)} %`
  return [
    ...(top1 === undefined ? [] : [['top-1', percent(top1)] as [string, string]]),
    ...(top5 === undefined ? [] : [['top-5', percent(top5)] as [string, string]]),
    ...(accuracy === undefined ? [] : [['accuracy', percent(accuracy)] as [string, string]]),
    ...(mae === undefined ? [] : [['mean absolute error', mae.toPrecision(4)] as [string, string]]),
    ['loss', loss.toPrecision(4)],
  ]
}
