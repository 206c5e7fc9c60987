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
import { AUGMENT_OPTIONS, augmentOf, type AugmentArguments } from './augment.ts'
import { TRAINING_DATA_OPTIONS, type TrainingDataArguments } from './data.ts'
import { OBJECTIVE_OPTIONS, type ObjectiveArguments } from './objective.ts'
import { RUN_OPTIONS, type RunArguments } from './run.ts'
import { SWA_OPTIONS, swaOf, type SwaArguments } from './swa.ts'
import { baseOf, learningRateOf, optimizerOf, TRAINING_OPTIONS, type TrainingArguments } from './training.ts'

export const FINETUNE_OPTIONS = {
  ...TRAINING_DATA_OPTIONS,
  ...AUGMENT_OPTIONS,
  ...TRAINING_OPTIONS,
  ...OBJECTIVE_OPTIONS,
  ...WEIGHT_OPTIONS,
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
    SwaArguments,
    WeightArguments,
    RunArguments,
    Omit<EngineArguments, 'batchSize'> {
  readonly model: string
  readonly bnMode: 'exact' | 'torch'
}

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
