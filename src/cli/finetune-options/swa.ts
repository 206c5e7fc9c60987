/** The SWA phase: its schedule, its snapshots, and what is delivered at the end. */

import type { Options } from 'yargs'
import type { Select } from '../../train/options.ts'
import type { SwaRateSpec, SwaSpec } from '../../train/schedules.ts'
import type { TrainingSettings } from '../../train/training-settings.ts'
import { UsageError } from '../../util/errors.ts'
import { given, whole } from '../options.ts'

export const SWA_OPTIONS = {
  'swa-start': { type: 'string', default: '0.6dur', group: 'SWA:', describe: 'when the SWA phase begins' },
  'swa-schedule': {
    choices: ['swalr', 'linear', 'constant', 'cyclic', 'base'] as const,
    default: 'swalr' as const,
    group: 'SWA:',
    describe: 'rate from there on; swalr anneals by a cosine, linear on a line',
  },
  'swa-lr': {
    type: 'number',
    group: 'SWA:',
    describe: 'rate of the SWA phase (default: half of --lr); low end of a cycle',
  },
  'swa-lr-high': { type: 'number', group: 'SWA:', describe: 'high end of a cycle (default: --lr)' },
  anneal: {
    type: 'string',
    group: 'SWA:',
    describe: 'time from --lr to --swa-lr; 0ba: at once (default: 1ep, or a quarter of a shorter SWA phase)',
  },
  cycle: {
    type: 'string',
    group: 'SWA:',
    describe: 'length of a cycle of the cyclic schedule (default: 1ep, or half of a shorter SWA phase)',
  },
  'snapshot-every': {
    type: 'string',
    group: 'SWA:',
    describe: 'time between snapshots (default: a cycle, or 1ep, or half of a shorter rest of the run)',
  },
  'average-from': {
    choices: ['start', 'anneal'] as const,
    default: 'anneal' as const,
    group: 'SWA:',
    describe: 'count snapshots from swa-start, or from the end of the anneal',
  },
  ema: {
    type: 'number',
    group: 'SWA:',
    describe:
      'keep an exponential moving average of the weights with this decay, such as 0.999: one more candidate',
  },
  'ema-warmup': {
    type: 'boolean',
    default: false,
    group: 'SWA:',
    describe: 'let the decay of --ema rise from 0, so that it suits short runs',
  },
  metric: {
    type: 'string',
    default: 'auto',
    group: 'SWA:',
    describe:
      'what is better: top1, loss, or any other metric that is measured (auto: accuracy where there is one, else the loss)',
  },
  patience: {
    type: 'number',
    group: 'SWA:',
    describe:
      'early stopping: after so many validations without improvement the SWA phase begins at once and the run ends as much earlier',
  },
  select: {
    choices: ['swa', 'ema', 'best', 'gate'] as const,
    default: 'swa' as const,
    group: 'SWA:',
    describe:
      'deliver the average; the moving average; what validates best; the average unless something beats it',
  },
} as const satisfies Record<string, Options>

export interface SwaArguments {
  readonly swaStart: string
  readonly swaSchedule: 'swalr' | 'linear' | 'constant' | 'cyclic' | 'base'
  readonly swaLr?: number
  readonly swaLrHigh?: number
  readonly anneal?: string
  readonly cycle?: string
  readonly snapshotEvery?: string
  readonly averageFrom: 'start' | 'anneal'
  readonly select: Select
  readonly ema?: number
  readonly emaWarmup: boolean
  readonly metric: string
  readonly patience?: number
}

/** What is kept beside the snapshots, and how models are compared. */
export function comparisonOf(
  args: SwaArguments,
): Pick<TrainingSettings, 'ema' | 'metric' | 'patience'> & { select: Select } {
  const { ema, emaWarmup: warmup, metric, patience, select } = args
  if (ema === undefined && warmup) throw new UsageError('--ema-warmup: expected together with --ema')
  return {
    ...{ select, metric },
    ema: ema === undefined ? null : { decay: ema, warmup },
    patience: patience === undefined ? null : whole('--patience', patience),
  }
}

/** The phase of a run that trains at the rate `lr` before it. */
export function swaOf(args: SwaArguments, lr: number): SwaSpec {
  return {
    start: args.swaStart,
    rate: swaRateOf(args, lr),
    from: args.averageFrom,
    ...given({ every: args.snapshotEvery }),
  }
}

function swaRateOf(args: SwaArguments, lr: number): SwaRateSpec {
  const swaLr = args.swaLr ?? lr / 2
  const anneal = given({ anneal: args.anneal })
  const cycle = given({ cycle: args.cycle })
  const rates: Record<SwaArguments['swaSchedule'], SwaRateSpec> = {
    swalr: { kind: 'swalr', lr: swaLr, ...anneal, strategy: 'cos' },
    linear: { kind: 'swalr', lr: swaLr, ...anneal, strategy: 'linear' },
    constant: { kind: 'constant', lr: swaLr },
    cyclic: { kind: 'cyclic', high: args.swaLrHigh ?? lr, low: swaLr, ...cycle },
    base: { kind: 'base' },
  }
  return rates[args.swaSchedule]
}
