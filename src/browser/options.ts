/** What may be asked of a run in a browser: the fields of the `finetune` of Node, with the defaults of its command. */

import type { HeadOptions } from '../train/head.ts'
import type { PlanOptions } from '../train/plan.ts'
import type { RunSettings } from '../train/options.ts'
import type { ScheduleSpec } from '../train/schedules.ts'
import { DEFAULT_TRAINING } from '../train/training-settings.ts'
import type { ImageOptions } from '../eval/loading.ts'
import type { Augment } from '../data/index.ts'

export interface BrowserOptions extends HeadOptions {
  readonly epochs?: number
  readonly batchSize?: number
  readonly seed?: number
  /** Share of the data that validates where no validation data are given; 0: no validation. */
  readonly holdOut?: number
  /** At most so many samples of each part, balanced over the classes. */
  readonly limit?: number
  /** Normalisation and size of images, where model and data do not say. */
  readonly images?: ImageOptions
  readonly augment?: Partial<Augment>
  readonly schedule?: ScheduleSpec
  readonly settings?: Partial<RunSettings>
  /** Time between validations. */
  readonly evalEvery?: string
}

/** Rate of the command's default optimizer, SGD. */
export const DEFAULT_LR = 0.01

/** The command's default schedule: a constant rate, then SWALR at half of it from 0.6 of the run on. */
export function defaultSchedule(lr = DEFAULT_LR): ScheduleSpec {
  return {
    lr,
    stepping: 'batch',
    base: { kind: 'constant' },
    swa: { start: '0.6dur', rate: { kind: 'swalr', lr: lr / 2, strategy: 'cos' }, from: 'anneal' },
  }
}

export const DEFAULT_SETTINGS: RunSettings = {
  ...DEFAULT_TRAINING,
  optimizer: { kind: 'sgd', momentum: 0.9, nesterov: false, weightDecay: 1e-4 },
  loss: 'auto',
  labelSmoothing: 0,
  ignoreIndex: -100,
  batchNorm: 'train',
  bnMode: 'exact',
  dropout: true,
  select: 'swa',
  patterns: {},
}

export type ResolvedOptions = PlanOptions & { readonly holdOut: number; readonly limit: number | null }

/** Every field, given or by default. */
export function resolveOptions(options: BrowserOptions = {}): ResolvedOptions {
  const { epochs = 10, batchSize = 32, seed = 0, holdOut = 0.1, augment = {}, evalEvery = '1ep' } = options
  const { limit = null, head, numClasses } = options
  return {
    ...(head ? { head } : {}),
    ...(numClasses === undefined ? {} : { numClasses }),
    ...{ epochs, batchSize, seed, holdOut, limit, augment, evalEvery },
    dataOptions: options.images ?? {},
    schedule: options.schedule ?? defaultSchedule(),
    settings: { ...DEFAULT_SETTINGS, ...options.settings },
  }
}
