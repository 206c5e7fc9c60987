/** The options of `finetune` as tables by subject, and their way into FinetuneOptions. */

import { basename, join } from 'node:path'
import type { Options } from 'yargs'
import type { FinetuneOptions } from '../../train/options.ts'
import type { ScheduleSpec } from '../../train/schedules.ts'
import {
  BATCH_NORM_OPTIONS,
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
} from '../options.ts'
import { AUGMENT_OPTIONS, augmentOf, mixOf, type AugmentArguments } from './augment.ts'
import { TRAINING_DATA_OPTIONS, type TrainingDataArguments } from './data.ts'
import { GROUP_OPTIONS, groupsOf, type GroupArguments } from './groups.ts'
import { HEAD_OPTIONS, headOf, type HeadArguments } from './head.ts'
import { OBJECTIVE_OPTIONS, objectiveOf, type ObjectiveArguments } from './objective.ts'
import { RUN_OPTIONS, type RunArguments } from './run.ts'
import { comparisonOf, SWA_OPTIONS, swaOf, type SwaArguments } from './swa.ts'
import {
  baseOf,
  gradientsOf,
  learningRateOf,
  optimizerOf,
  TRAINING_OPTIONS,
  type TrainingArguments,
} from './training.ts'

export const FINETUNE_OPTIONS = {
  ...TRAINING_DATA_OPTIONS,
  ...AUGMENT_OPTIONS,
  ...TRAINING_OPTIONS,
  ...OBJECTIVE_OPTIONS,
  ...HEAD_OPTIONS,
  ...WEIGHT_OPTIONS,
  ...GROUP_OPTIONS,
  ...SWA_OPTIONS,
  ...RUN_OPTIONS,
  ...TRAINING_ENGINE_OPTIONS,
  ...BATCH_NORM_OPTIONS,
} as const satisfies Record<string, Options>

/** What yargs makes of the table. */
export interface FinetuneArguments
  extends
    DataArguments,
    TrainingDataArguments,
    AugmentArguments,
    TrainingArguments,
    ObjectiveArguments,
    HeadArguments,
    SwaArguments,
    WeightArguments,
    GroupArguments,
    RunArguments,
    Omit<EngineArguments, 'batchSize'> {
  readonly model: string
  readonly bnMode: 'exact' | 'torch'
}

export function finetuneOptions(args: FinetuneArguments): FinetuneOptions {
  const { model, data, val, threads } = args
  const { settings: objective, lossGraph } = objectiveOf(args)
  return {
    model,
    data,
    dataOptions: dataOptions(args),
    augment: augmentOf(args),
    ...headOf(args),
    run: args.run ?? join('runs', basename(model).replace(/\.onnx$/, '')),
    epochs: inRange('--epochs', args.epochs, 0, Infinity),
    batchSize: whole('--batch-size', args.batchSize),
    seed: args.seed,
    schedule: scheduleOf(args),
    settings: {
      optimizer: optimizerOf(args),
      ...gradientsOf(args),
      ...groupsOf(args),
      ...comparisonOf(args),
      ...objective,
      batchNorm: args.bn,
      bnMode: args.bnMode,
      dropout: args.dropout,
      ...given({ recompute: args.recompute || undefined }),
      patterns: weightPatterns(args),
      ...given({ mix: mixOf(args) }),
    },
    evalEvery: args.evalEvery,
    ...given({ val, lossGraph, threads: threads === undefined ? undefined : whole('--threads', threads) }),
  }
}

function scheduleOf(args: FinetuneArguments): ScheduleSpec {
  const lr = learningRateOf(args)
  const { warmup } = args
  return {
    lr,
    stepping: 'batch',
    base: baseOf(args),
    ...(warmup === undefined ? {} : { warmup: { over: warmup, startFactor: 0.01 } }),
    swa: swaOf(args, lr),
  }
}
