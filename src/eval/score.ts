/** What the metrics mean, how they are written for people, and the one number that says which of two models is better. */

import { UsageError } from '../util/errors.ts'
import type { Metrics } from './metrics.ts'

export interface MetricInfo {
  readonly title: string
  readonly format: 'percent' | 'number'
  readonly better: 'higher' | 'lower'
  /** Whether tables and log lines show it; JSON and charts have all. */
  readonly shown: boolean
}

const share = (title: string, shown = false): MetricInfo => ({
  title,
  format: 'percent',
  better: 'higher',
  shown,
})
const error = (title: string, shown = false): MetricInfo => ({
  title,
  format: 'number',
  better: 'lower',
  shown,
})

/** Name -> what it is, in the order of tables. */
export const METRICS = {
  /** Share of samples whose highest output is the target class. */
  top1: share('top-1', true),
  /** Share whose target is among the five highest (with more than five classes). */
  top5: share('top-5', true),
  /** Share of right decisions: yes or no, the class of a pixel, of a token. */
  accuracy: share('accuracy', true),
  /** Intersection over union, mean over the classes. */
  meanIou: share('mean IoU', true),
  /** F1 of whole entities (token labels B-..., I-...). */
  entityF1: share('entity F1', true),
  /** Mean over the classes; of one yes-no decision that of "yes". So are precision and recall. */
  f1: share('F1', true),
  f1Micro: share('micro F1'),
  precision: share('precision'),
  recall: share('recall'),
  /** Area under the receiver operating characteristic; of several classes the mean of each against the rest. */
  auc: share('AUC', true),
  /** Area under precision over recall; of several classes their mean, mAP. */
  averagePrecision: share('average precision', true),
  /** Expected calibration error. */
  ece: error('calibration error'),
  mae: error('mean absolute error', true),
  rmse: error('RMSE', true),
  r2: { title: 'R2', format: 'number', better: 'higher', shown: true },
  perplexity: error('perplexity', true),
  /** Log loss of classes and of yes-no decisions, squared error of values. */
  loss: error('loss', true),
} as const satisfies Readonly<Record<string, MetricInfo>>

export type MetricName = keyof typeof METRICS

/** What models are compared by unless something else is asked for: the first of these that was measured, else the loss. */
const DEFAULT_SCORES: readonly MetricName[] = ['meanIou', 'entityF1', 'top1', 'accuracy']

/** The metric that models are compared by by default. */
export function defaultMetric(metrics: Metrics): MetricName {
  return (
    DEFAULT_SCORES.find(name => metrics[name] !== undefined && metrics['perplexity'] === undefined) ?? 'loss'
  )
}

/** What is known of a metric; `output.name` is the metric `name` of another output, and names of a person's own are losses. */
export function metricInfo(name: string): MetricInfo {
  const own = METRICS[name as MetricName] as MetricInfo | undefined
  if (own) return own
  const [, output, inner] = /^(.*)\.([^.]+)$/.exec(name) ?? []
  const found = METRICS[inner as MetricName] as MetricInfo | undefined
  return found ? { ...found, title: `${output} ${found.title}` } : error(name, true)
}

/**
 * Higher is better. By default accuracy or what takes its place, ties broken by the loss; else minus the loss. By a named
 * metric: that one, or minus it where lower is better.
 */
export function scoreOf(metrics: Metrics, metric: string = defaultMetric(metrics)): number {
  const value = metrics[metric]
  if (value === undefined) {
    const names = Object.keys(metrics).filter(name => name !== 'samples')
    throw new UsageError(`metric: "${metric}" was not measured, found ${names.join(', ')}`)
  }
  const { better, format } = metricInfo(metric)
  if (better === 'lower') return -value
  if (format !== 'percent') return value
  // A sample more or less outweighs any loss: accuracy moves in steps of 1/samples or more.
  const tie = 1 / (1 + Math.max(0, metrics.loss))
  return value + (tie * 1e-3) / Math.max(1, metrics.samples)
}

/** `top-1 98.70 %, loss 0.0412`. */
export function describeMetrics(metrics: Metrics): string {
  return metricCells(metrics)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ')
}

/** Titles and values of what is worth showing, for tables. */
export function metricCells(metrics: Metrics): [title: string, value: string][] {
  const known = Object.keys(METRICS)
  const others = Object.keys(metrics).filter(name => !known.includes(name) && name !== 'samples')
  return [...known, ...others].flatMap((name): [string, string][] => {
    const value = metrics[name]
    const { title, format, shown } = metricInfo(name)
    if (value === undefined || !shown) return []
    return [[title, format === 'percent' ? `${(100 * value).toFixed(2)} %` : value.toPrecision(4)]]
  })
}
