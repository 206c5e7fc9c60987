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
import { loadModelFrom } from '../serde/index.ts'
import { invariant, UsageError } from '../util/errors.ts'
import { isUrl } from '../util/location.ts'
import { writeManifest } from './average-manifest.ts'
import type { ChosenSoup } from './average-soup.ts'
import type { EvaluationReport } from './compare.ts'
import type { DataOptions } from './loading.ts'
import type { RecalibratedModel } from './recalibrate-model.ts'
import { weightsOfSome, type SoupKind } from './soup.ts'

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
  /** Average only those members that together are best on `val`. */
  readonly soup?: SoupKind
  /** Write the record of the average beside it; default: yes. */
  readonly manifest?: boolean
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
  readonly method: string
  readonly files: readonly string[]
  /** The model that received the average. */
  readonly into: string | null
  readonly batchNorms: number
  readonly recalibrated: RecalibratedModel | null
  readonly evaluation: EvaluationReport | null
  /** How members were chosen, if they were. */
  readonly soup: ChosenSoup | null
  readonly warnings: readonly string[]
  /** The record beside the output. */
  readonly manifest: string | null
}

/**
 * Averages, then recalibrates if there are data, then compares members and average if there are labels. The engine runs
 * models for that; what is not needed is not loaded, as averaging many files takes less time than loading all of it.
 */
export async function averageModel(
  engine: Engine | null,
  options: AverageModelOptions,
  context: AverageModelContext = {},
): Promise<AverageResult> {
  const { out, partial = false, data, val } = options
  const soup = options.soup ? await chooseMembers(engine, options.soup, options, context) : null
  const { checkpoints, average } = soup ? chosenOptions(soup, options) : options
  const plan = await planAverage(checkpoints, average)
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
      ...(options.threads === undefined ? {} : { threads: options.threads }),
    })
    if (stale) recalibrated = await recalibrateAverage(needed(engine), target, data, options, context)
  } finally {
    if (stale) for (const path of [target, `${target}.data`]) await rm(path, { force: true })
  }
  const files = plan.files.map(({ path }) => path)
  const members = plan.files
    .filter(({ format, role }) => format === 'onnx' && role === 'member')
    .map(({ path }) => path)
  const result = {
    ...{ path: out, method: plan.title, files, into, batchNorms, recalibrated, soup },
    evaluation:
      val === undefined ? null : await compare(needed(engine), [...members, out], val, options, context),
    warnings: batchNorms > 0 && !stale ? [staleWarning(out, batchNorms)] : [],
  }
  const manifest = options.manifest === false ? null : await writeManifest(plan, report, result)
  return { ...report, ...result, manifest }
}

function needed(engine: Engine | null): Engine {
  invariant(engine, 'models are run without an engine')
  return engine
}

async function chooseMembers(
  engine: Engine | null,
  kind: SoupKind,
  options: AverageModelOptions,
  context: AverageModelContext,
): Promise<ChosenSoup> {
  const { val, partial = false } = options
  if (val === undefined || partial) {
    throw new UsageError(
      partial
        ? '--soup: expected a whole average, found --partial'
        : '--soup: there are no data to choose members by',
      partial ? {} : { cure: 'give labelled data with --val' },
    )
  }
  const { chooseSoup } = await import('./average-soup.ts')
  return chooseSoup(needed(engine), kind, { ...options, val }, countBatchNorms, context)
}

/** The options with the members that were chosen; a model receives the average as before. */
function chosenOptions(
  { members }: ChosenSoup,
  options: AverageModelOptions,
): Pick<AverageModelOptions, 'checkpoints' | 'average'> {
  const positions = members.map(path => options.checkpoints.indexOf(path))
  return { checkpoints: members, average: weightsOfSome(options.average ?? {}, positions) }
}

function checkKind(plan: AveragePlan, { out, partial, data, val }: AverageModelOptions): void {
  const gaussian = plan.method.kind === 'swag'
  const kind = partial
    ? 'partial average'
    : gaussian
      ? 'Gaussian of weights'
      : plan.output === 'onnx'
        ? 'ONNX model'
        : 'safetensors file'
  const isModel = kind === 'ONNX model'
  if (out.endsWith('.onnx') !== isModel) {
    throw new UsageError(`--out: the result is ${isModel ? 'an' : 'a'} ${kind}, found the name ${out}`, {
      cure: isModel
        ? 'give it a name that ends in .onnx'
        : partial || gaussian
          ? 'give it a name that ends in .safetensors'
          : 'name the model that receives the average with --into, or give a name that ends in .safetensors',
    })
  }
  const remote = plan.files.find(({ path, format }) => format === 'onnx' && isUrl(path))
  if (val !== undefined && remote) {
    throw new UsageError(`--val: expected local files to compare, found ${remote.path}`, {
      cure: 'download the members, or leave --val out and measure the average with `swa-onnx evaluate`',
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
  const file = await loadModelFrom(path)
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
  const { recalibrateModel } = await import('./recalibrate-model.ts')
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

async function compare(
  engine: Engine,
  models: readonly string[],
  data: string,
  { batchSize, dataOptions, threads }: AverageModelOptions,
  { onProgress, signal }: AverageModelContext,
): Promise<EvaluationReport> {
  const settings = { ...(dataOptions ? { dataOptions } : {}), ...(threads === undefined ? {} : { threads }) }
  const { evaluateModels } = await import('./compare.ts')
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
