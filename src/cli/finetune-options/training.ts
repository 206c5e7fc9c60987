/** Length, optimizer and learning rate of the run before its SWA phase. */

import type { Options } from 'yargs'
import type { OptimizerKind, OptimizerSpec } from '../../train/optimizers.ts'
import type { BaseSpec } from '../../train/schedules.ts'
import type { TrainingSettings } from '../../train/training-settings.ts'
import { UsageError } from '../../util/errors.ts'
import { given, parseNumbers, whole } from '../options.ts'

/** Learning rates that suit fine-tuning; the rest as the papers have it, or PyTorch. */
const DEFAULTS = {
  sgd: { lr: 0.01, weightDecay: 1e-4, momentum: 0.9 },
  adamw: { lr: 3e-4, weightDecay: 1e-4, betas: [0.9, 0.999], eps: 1e-8 },
  adam: { lr: 3e-4, weightDecay: 0, betas: [0.9, 0.999], eps: 1e-8 },
  rmsprop: { lr: 1e-4, weightDecay: 0, momentum: 0, eps: 1e-8 },
  lion: { lr: 1e-4, weightDecay: 1e-3, betas: [0.9, 0.99] },
  lamb: { lr: 1e-3, weightDecay: 0.01, betas: [0.9, 0.999], eps: 1e-6 },
} as const satisfies Record<OptimizerKind, Defaults>

interface Defaults {
  readonly lr: number
  readonly weightDecay: number
  readonly momentum?: number
  readonly betas?: readonly [number, number]
  readonly eps?: number
}

export const TRAINING_OPTIONS = {
  epochs: { type: 'number', default: 10, group: 'Training:', describe: 'length of the run' },
  'batch-size': { type: 'number', default: 32, group: 'Training:', describe: 'samples of one batch' },
  accumulate: {
    type: 'number',
    default: 1,
    group: 'Training:',
    describe:
      'batches whose gradients make one step, for large batches in little memory; times in ba count steps',
  },
  optimizer: {
    choices: ['sgd', 'adamw', 'adam', 'rmsprop', 'lion', 'lamb'] as const,
    default: 'sgd' as const,
    group: 'Training:',
    describe: 'optimizer',
  },
  lr: {
    type: 'number',
    group: 'Training:',
    describe:
      'learning rate (default: 0.01 for sgd, 3e-4 for adamw and adam, 1e-4 for rmsprop and lion, 1e-3 for lamb)',
  },
  momentum: {
    type: 'number',
    group: 'Training:',
    describe: 'of sgd (default: 0.9) and rmsprop (default: 0)',
  },
  nesterov: {
    type: 'boolean',
    default: false,
    group: 'Training:',
    describe: "Nesterov's form of the momentum",
  },
  betas: {
    type: 'string',
    group: 'Training:',
    describe: 'of adamw, adam and lamb (default: 0.9,0.999) and of lion (default: 0.9,0.99)',
  },
  eps: {
    type: 'number',
    group: 'Training:',
    describe: 'of adamw, adam and rmsprop (default: 1e-8) and of lamb (default: 1e-6)',
  },
  'weight-decay': {
    type: 'number',
    group: 'Training:',
    describe:
      'weight decay (default: 1e-4 for sgd and adamw, 0 for adam and rmsprop, 1e-3 for lion, 0.01 for lamb); not of biases and norms, see --decay-all',
  },
  'clip-norm': {
    type: 'number',
    group: 'Training:',
    describe: 'scale gradients down to this norm of all of them together; the norm is logged',
  },
  'clip-value': {
    type: 'number',
    group: 'Training:',
    describe: 'clip each element of the gradients to this size',
  },
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
  recompute: {
    type: 'boolean',
    default: false,
    group: 'Training:',
    describe: 'compute activations again in the backward pass: less memory, more time, the same numbers',
  },
} as const satisfies Record<string, Options>

export interface TrainingArguments {
  readonly epochs: number
  readonly batchSize: number
  readonly accumulate: number
  readonly optimizer: OptimizerKind
  readonly lr?: number
  readonly momentum?: number
  readonly nesterov: boolean
  readonly betas?: string
  readonly eps?: number
  readonly weightDecay?: number
  readonly clipNorm?: number
  readonly clipValue?: number
  readonly schedule: 'constant' | 'cosine' | 'linear' | 'step'
  readonly lrEnd: number
  readonly stepEvery: string
  readonly gamma: number
  readonly warmup?: string
  readonly bn: 'train' | 'frozen'
  readonly dropout: boolean
  readonly recompute: boolean
}

export function learningRateOf({ lr, optimizer }: TrainingArguments): number {
  return lr ?? DEFAULTS[optimizer].lr
}

/** Hyperparameters of an optimizer: given, or its defaults. One that it does not have is refused. */
export function optimizerOf(args: TrainingArguments): OptimizerSpec {
  const kind = args.optimizer
  const defaults: Defaults = DEFAULTS[kind]
  const { momentum = 0, eps = 0, weightDecay } = { ...defaults, ...given(hyperparametersOf(args)) }
  const [beta1, beta2] = betasOf(args.betas) ?? defaults.betas ?? [0, 0]
  for (const name of ['momentum', 'betas', 'eps'] as const) {
    if (args[name] !== undefined && defaults[name] === undefined)
      throw new UsageError(`--${name}: ${kind} has none`)
  }
  if (args.nesterov && kind !== 'sgd') throw new UsageError(`--nesterov: expected with sgd, found ${kind}`)
  const specs: { readonly [Kind in OptimizerKind]: Extract<OptimizerSpec, { readonly kind: Kind }> } = {
    sgd: { kind: 'sgd', momentum, nesterov: args.nesterov, weightDecay },
    adamw: { kind: 'adamw', beta1, beta2, eps, weightDecay },
    adam: { kind: 'adam', beta1, beta2, eps, weightDecay },
    rmsprop: { kind: 'rmsprop', alpha: 0.99, eps, momentum, weightDecay },
    lion: { kind: 'lion', beta1, beta2, weightDecay },
    lamb: { kind: 'lamb', beta1, beta2, eps, weightDecay },
  }
  return specs[kind]
}

function hyperparametersOf({ momentum, eps, weightDecay }: TrainingArguments) {
  return { momentum, eps, weightDecay }
}

function betasOf(text: string | undefined): readonly [number, number] | null {
  if (text === undefined) return null
  const [beta1, beta2, ...more] = parseNumbers('--betas', text)
  if (beta1 !== undefined && beta2 !== undefined && more.length === 0) return [beta1, beta2]
  throw new UsageError(`--betas: expected two numbers such as 0.9,0.999, found "${text}"`)
}

/** What becomes of gradients before the optimizer sees them. */
export function gradientsOf(args: TrainingArguments): Pick<TrainingSettings, 'accumulate' | 'clip'> {
  const { clipNorm, clipValue } = args
  if (clipNorm !== undefined && clipValue !== undefined)
    throw new UsageError('--clip-norm, --clip-value: expected one of them')
  return {
    accumulate: whole('--accumulate', args.accumulate),
    clip:
      clipNorm !== undefined
        ? { kind: 'norm', limit: clipNorm }
        : clipValue !== undefined
          ? { kind: 'value', limit: clipValue }
          : null,
  }
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
