/** Checkpoints -> their average as a file, recalibrated and compared where data are given. */

import { rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import {
  planAverage,
  runAverage,
  type AverageOptions,
  type AveragePlan,
  type AverageReport,
} from '../averaging/index.ts'
import type { BatchNormMode } from '../batchnorm/index.ts'
import { findBatchNorms, withoutFunctions } from '../passes/index.ts'
import type { Engine } from '../runtime/engine.ts'
import { loadModel } from '../serde/index.ts'
import { UsageError } from '../util/errors.ts'
import { evaluateModels, type EvaluationReport } from './compare.ts'
import type { DataOptions } from './loading.ts'
import { recalibrateModel, type RecalibratedModel } from './recalibrate-model.ts'

export interface AverageModelOptions {
  readonly checkpoints: readonly string[]
  readonly out: string
  readonly average?: AverageOptions
  /** Write exact sums, to be merged with others. */
  readonly partial?: boolean
  /** Data to recalibrate on. */
  readonly data?: string
  /** Labelled data to compare on. */
  readonly val?: string
  readonly mode: BatchNormMode
  readonly batchSize: number
  readonly dataOptions?: DataOptions
  readonly threads?: number
}

export interface AverageModelContext {
  readonly onProgress?: (progress: {
    readonly label: string
    readonly done: number
    readonly total: number
    readonly unit: string
  }) => void
  readonly signal?: AbortSignal | undefined
}

export interface AverageResult extends AverageReport {
  readonly method: AveragePlan['method']
  readonly files: readonly string[]
  /** The model that received the average. */
  readonly into: string | null
  readonly batchNorms: number
  readonly recalibrated: RecalibratedModel | null
  readonly evaluation: EvaluationReport | null
  readonly warnings: readonly string[]
}

/** Averages, then recalibrates if there are data, then compares members and average if there are labels. */
export async function averageModel(
  engine: Engine,
  options: AverageModelOptions,
  context: AverageModelContext = {},
): Promise<AverageResult> {
  const { checkpoints, out, partial = false, data, val } = options
  const plan = await planAverage(checkpoints, options.average)
  checkKind(plan, options)
  const into = plan.template?.path ?? null
  const batchNorms = partial || into === null ? 0 : await countBatchNorms(into)
  const stale = data !== undefined && batchNorms > 0
  const target = stale ? join(dirname(out), `.${basename(out, '.onnx')}.uncalibrated.onnx`) : out
  let recalibrated: RecalibratedModel | null = null
  let report: AverageReport
  try {
    report = await runAverage(plan, target, {
      as: partial ? 'partial' : 'result',
      onProgress: ({ done, total }) => context.onProgress?.({ label: 'average', done, total, unit: 'bytes' }),
      ...(context.signal ? { signal: context.signal } : {}),
    })
    if (stale) recalibrated = await recalibrateAverage(engine, target, data, options, context)
  } finally {
    if (stale) for (const path of [target, `${target}.data`]) await rm(path, { force: true })
  }
  const files = plan.files.map(({ path }) => path)
  const members = plan.files.filter(({ format }) => format === 'onnx').map(({ path }) => path)
  return {
    ...report,
    ...{ path: out, method: plan.method, files, into, batchNorms, recalibrated },
    evaluation: val === undefined ? null : await compare(engine, [...members, out], val, options, context),
    warnings: [...plan.warnings, ...(batchNorms > 0 && !stale ? [staleWarning(out, batchNorms)] : [])],
  }
}

function checkKind(plan: AveragePlan, { out, partial, data, val }: AverageModelOptions): void {
  const kind = partial ? 'partial average' : plan.output === 'onnx' ? 'ONNX model' : 'safetensors file'
  const isModel = kind === 'ONNX model'
  if (out.endsWith('.onnx') !== isModel) {
    throw new UsageError(`--out: the result is ${isModel ? 'an' : 'a'} ${kind}, found the name ${out}`, {
      cure: isModel
        ? 'give it a name that ends in .onnx'
        : partial
          ? 'give it a name that ends in .safetensors'
          : 'name the model that receives the average with --into, or give a name that ends in .safetensors',
    })
  }
  if (!isModel && (data ?? val) !== undefined) {
    throw new UsageError(
      `--${data === undefined ? 'val' : 'data'}: the result is a ${kind}, expected a model`,
      {
        cure: 'name the model that receives the average with --into',
      },
    )
  }
}

async function countBatchNorms(path: string): Promise<number> {
  const file = await loadModel(path)
  try {
    return findBatchNorms(withoutFunctions(file.model)).length
  } finally {
    await file.close()
  }
}

async function recalibrateAverage(
  engine: Engine,
  model: string,
  data: string,
  { out, mode, batchSize, dataOptions, threads }: AverageModelOptions,
  { onProgress, signal }: AverageModelContext,
): Promise<RecalibratedModel> {
  const settings = { ...(dataOptions ? { dataOptions } : {}), ...(threads === undefined ? {} : { threads }) }
  const report = await recalibrateModel(
    engine,
    { model, data, out, mode, batchSize, ...settings },
    {
      signal,
      onProgress: (done, total) => onProgress?.({ label: 'recalibrate', done, total, unit: 'samples' }),
    },
  )
  return { ...report, model: out }
}

function compare(
  engine: Engine,
  models: readonly string[],
  data: string,
  { batchSize, dataOptions, threads }: AverageModelOptions,
  { onProgress, signal }: AverageModelContext,
): Promise<EvaluationReport> {
  const settings = { ...(dataOptions ? { dataOptions } : {}), ...(threads === undefined ? {} : { threads }) }
  return evaluateModels(
    engine,
    { models, data, batchSize, ...settings },
    {
      signal,
      onProgress: (model, done, total) =>
        onProgress?.({ label: `evaluate ${model}`, done, total, unit: 'samples' }),
    },
  )
}

function staleWarning(out: string, batchNorms: number): string {
  const count = `${batchNorms} batch normalization${batchNorms === 1 ? '' : 's'}`
  return `the running statistics of ${count} are averages too and do not fit the averaged weights; run \`swa-onnx recalibrate ${out} --data ...\`, or give --data here`
}
