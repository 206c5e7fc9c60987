/** Checkpoints -> their average as a file, recalibrated and compared where data are given. */

import {
  planAverage,
  runAverage,
  type AverageOptions,
  type AveragePlan,
  type AverageReport,
} from '../averaging/index.ts'
import type { BatchNormMode } from '../batchnorm/index.ts'
import type { Engine } from '../runtime/engine.ts'
import { invariant, UsageError } from '../util/errors.ts'
import { isUrl } from '../util/location.ts'
import { deliveredFiles, writeManifest } from './average-manifest.ts'
import { batchNormsOf } from './batch-norms-of.ts'
import { checkGate } from './gate.ts'
import type { ChosenSoup } from './average-soup.ts'
import type { EvaluationReport } from './compare.ts'
import type { DataOptions } from './loading.ts'
import type { RepairReport } from './average-repair.ts'
import type { RecalibratedModel } from './recalibrate-model.ts'
import { weightsOfSome, type SoupKind } from './soup.ts'
import { Staging } from './staging.ts'

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
  /** Give channels the mean and deviation that members have, on `data`: for models without batch norms. */
  readonly repair?: boolean
  /** Keep what is finished when interrupted, and go on from there. */
  readonly resume?: boolean
  /** Keep what is there if the average is worse on `val` than the best member. */
  readonly gate?: boolean
  /** Take SHA-256 of the output; default: of up to 256 MiB. */
  readonly checksum?: boolean
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
  readonly repaired: RepairReport | null
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
  const { out, partial = false, gate = false } = options
  const soup = options.soup ? await chooseMembers(engine, options.soup, options, context) : null
  const { checkpoints, average } = soup ? chosenOptions(soup, options) : options
  const plan = await planAverage(checkpoints, average)
  checkKind(plan, options)
  const into = plan.template?.path ?? null
  const batchNorms = partial || into === null ? 0 : await batchNormsOf(into)
  if (gate && options.val === undefined) {
    throw new UsageError('--gate: there are no data to compare on', { cure: 'give labelled data with --val' })
  }
  if (options.repair) checkRepair(options, batchNorms)
  if (options.resume && (gate || (options.data !== undefined && batchNorms > 0) || options.repair)) {
    throw new UsageError('--resume: expected an average that is written as it is, found --gate or --data', {
      cure: 'average with --resume first, then recalibrate and evaluate what was written',
    })
  }
  const staging = new Staging(out)
  try {
    const target = gate ? await staging.output() : out
    const { report, recalibrated, repaired } = await make(
      engine,
      plan,
      batchNorms,
      target,
      staging,
      options,
      context,
    )
    const evaluation = await measure(engine, plan, target, staging, options, context)
    if (gate) {
      checkGate(evaluation!, out)
      await staging.deliver()
    }
    const written = await deliveredFiles(report, out, (recalibrated ?? repaired) !== null)
    const result = {
      ...{ path: out, method: plan.title, files: plan.files.map(({ path }) => path), into, batchNorms },
      ...{ recalibrated, repaired, soup, evaluation },
      warnings: [
        ...plan.warnings,
        ...(batchNorms > 0 && !recalibrated ? [staleWarning(out, batchNorms)] : []),
      ],
    }
    const record = { ...report, ...result, written }
    const manifest = options.manifest === false ? null : await writeManifest(plan, record)
    return { ...record, manifest }
  } finally {
    await staging.close()
  }
}

/** Averages and recalibrates. */
async function make(
  engine: Engine | null,
  plan: AveragePlan,
  batchNorms: number,
  target: string,
  staging: Staging,
  options: AverageModelOptions,
  context: AverageModelContext,
): Promise<{
  report: AverageReport
  recalibrated: RecalibratedModel | null
  repaired: RepairReport | null
}> {
  const { partial = false, data, threads } = options
  const stale = data !== undefined && batchNorms > 0
  const mend = options.repair === true && data !== undefined
  const averaged = stale || mend ? await staging.temporary('uncalibrated') : target
  const report = await runAverage(plan, averaged, {
    as: partial ? 'partial' : 'result',
    onProgress: ({ done, total }) => context.onProgress?.({ label: 'average', done, total, unit: 'bytes' }),
    ...(context.signal ? { signal: context.signal } : {}),
    ...(threads === undefined ? {} : { threads }),
    ...(options.resume ? { resume: true } : {}),
    ...(options.checksum === undefined ? {} : { checksum: options.checksum }),
  })
  if (mend) {
    const { repairAverage } = await import('./average-repair.ts')
    const given = { ...options, data }
    const repaired = await repairAverage(needed(engine), plan, averaged, target, given, context)
    return { report, recalibrated: null, repaired }
  }
  if (!stale) return { report, recalibrated: null, repaired: null }
  const recalibrated = await recalibrateAverage(needed(engine), averaged, data, target, options, context)
  const delivered = { ...recalibrated, model: options.out, out: options.out }
  return { report, recalibrated: delivered, repaired: null }
}

async function measure(
  engine: Engine | null,
  plan: AveragePlan,
  average: string,
  staging: Staging,
  options: AverageModelOptions,
  context: AverageModelContext,
): Promise<EvaluationReport | null> {
  const { val } = options
  if (val === undefined) return null
  const { evaluateAverage } = await import('./average-members.ts')
  return evaluateAverage(needed(engine), plan, average, staging, { ...options, val }, context)
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
  return chooseSoup(needed(engine), kind, { ...options, val }, batchNormsOf, context)
}

/** The options with the members that were chosen; a model receives the average as before. */
function chosenOptions(
  { members }: ChosenSoup,
  options: AverageModelOptions,
): Pick<AverageModelOptions, 'checkpoints' | 'average'> {
  const positions = members.map(path => options.checkpoints.indexOf(path))
  return { checkpoints: members, average: weightsOfSome(options.average ?? {}, positions) }
}

/** Repair is for models whose batch norms are gone. */
function checkRepair({ data, partial = false }: AverageModelOptions, batchNorms: number): void {
  if (data === undefined || partial) {
    throw new UsageError(`--repair: ${partial ? 'expected a model, found --partial' : 'there are no data'}`, {
      cure: 'give data like those of training with --data',
    })
  }
  if (batchNorms === 0) return
  throw new UsageError(`--repair: the model has ${batchNorms} batch normalizations`, {
    cure: 'leave --repair out: with --data they are recalibrated, which does the same and more',
  })
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

async function recalibrateAverage(
  engine: Engine,
  model: string,
  data: string,
  out: string,
  { mode, batchSize, dataOptions, threads }: AverageModelOptions,
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
  return report
}

function staleWarning(out: string, batchNorms: number): string {
  const count = `${batchNorms} batch normalization${batchNorms === 1 ? '' : 's'}`
  return `the running statistics of ${count} are averages too and do not fit the averaged weights; run \`swa-onnx recalibrate ${out} --data ...\`, or give --data here`
}
