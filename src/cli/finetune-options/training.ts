/** Length, optimizer and learning rate of the run before its SWA phase. */

import type { Options } from 'yargs'
import type { OptimizerSpec } from '../../train/optimizers.ts'
import type { BaseSpec } from '../../train/schedules.ts'

/** Learning rates that suit fine-tuning, by optimizer. */
const DEFAULT_LR = { sgd: 0.01, adamw: 3e-4 } as const

export const TRAINING_OPTIONS = {
  epochs: { type: 'number', default: 10, group: 'Training:', describe: 'length of the run' },
  'batch-size': { type: 'number', default: 32, group: 'Training:', describe: 'samples of one step' },
  optimizer: {
    choices: ['sgd', 'adamw'] as const,
    default: 'sgd' as const,
    group: 'Training:',
    describe: 'optimizer',
  },
  lr: {
    type: 'number',
    group: 'Training:',
    describe: 'learning rate (default: 0.01 for sgd, 3e-4 for adamw)',
  },
  momentum: { type: 'number', default: 0.9, group: 'Training:', describe: 'of sgd' },
  nesterov: {
    type: 'boolean',
    default: false,
    group: 'Training:',
    describe: "Nesterov's form of the momentum",
  },
  'weight-decay': { type: 'number', default: 1e-4, group: 'Training:', describe: 'weight decay' },
  schedule: {
    choices: ['constant', 'cosine', 'linear', 'step'] as const,
    default: 'constant' as const,
    group: 'Training:',
    describe: 'learning rate before swa-start',
  },
  'lr-end': {
    type: 'number',
    default: 0,
    group: 'Training:',
    describe: 'final rate of cosine; final share of linear',
  },
  'step-every': {
    type: 'string',
    default: '0.3dur',
    group: 'Training:',
    describe: 'time between the drops of `step`',
  },
  gamma: { type: 'number', default: 0.1, group: 'Training:', describe: 'factor of each drop of `step`' },
  warmup: { type: 'string', group: 'Training:', describe: 'time over which the rate rises, e.g. 0.5ep' },
  bn: {
    choices: ['train', 'frozen'] as const,
    default: 'train' as const,
    group: 'Training:',
    describe: 'batch norms: by batch statistics, or frozen',
  },
  dropout: { type: 'boolean', default: true, group: 'Training:', describe: 'let Dropout nodes drop' },
} as const satisfies Record<string, Options>

export interface TrainingArguments {
  readonly epochs: number
  readonly batchSize: number
  readonly optimizer: 'sgd' | 'adamw'
  readonly lr?: number
  readonly momentum: number
  readonly nesterov: boolean
  readonly weightDecay: number
  readonly schedule: 'constant' | 'cosine' | 'linear' | 'step'
  readonly lrEnd: number
  readonly stepEvery: string
  readonly gamma: number
  readonly warmup?: string
  readonly bn: 'train' | 'frozen'
  readonly dropout: boolean
}

export function learningRateOf({ lr, optimizer }: TrainingArguments): number {
  return lr ?? DEFAULT_LR[optimizer]
}

export function optimizerOf(args: TrainingArguments): OptimizerSpec {
  const { optimizer, momentum, nesterov, weightDecay } = args
  if (optimizer === 'sgd') return { kind: 'sgd', momentum, nesterov, weightDecay }
  return { kind: 'adamw', beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay }
}

export function baseOf({ schedule, lrEnd, stepEvery, gamma }: TrainingArguments): BaseSpec {
  const bases: Record<TrainingArguments['schedule'], BaseSpec> = {
    constant: { kind: 'constant' },
    cosine: { kind: 'cosine', etaMin: lrEnd },
    linear: { kind: 'linear', endFactor: lrEnd },
    step: { kind: 'step', every: stepEvery, gamma },
  }
  return bases[schedule]
}
