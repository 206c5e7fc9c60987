/** From options to a resolved plan: everything a run depends on, as JSON. Two runs of one plan give the same bytes. */

import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import {
  checkMoves,
  checkTransforms,
  fingerprintDataset,
  openDataset,
  openTrainAndVal,
  summarizeDataset,
  withAugment,
  type Dataset,
  type DatasetSummary,
  type Transforms,
} from '../data/index.ts'
import { inputSpecs, transformsForInputs, type DataOptions, type ImageOptions } from '../eval/loading.ts'
import { checkTargetOutputs } from '../eval/task.ts'
import type { Model } from '../ir/graph.ts'
import type { Engine, Precision } from '../runtime/engine.ts'
import type { ModelFile } from '../serde/index.ts'
import { InputError, messageOf, UsageError } from '../util/errors.ts'
import { VERSION } from '../util/version.ts'
import { headWeightNames, planHead, type HeadPlan } from './head.ts'
import type { FinetuneOptions, RunSettings } from './options.ts'
import { sha256File } from '../util/files.ts'
import { planSchedule, type SchedulePlan } from './schedules.ts'
import { resolveLength, resolvePoint, type RunLength } from './time.ts'
import { DEFAULT_TRAINING, type TrainingSettings } from './training-settings.ts'
import { planWeightsOf, type WeightPlan } from './weight-plan.ts'

export interface DataPlan extends DatasetSummary {
  readonly fingerprint: string
}

export interface FinetunePlan extends WeightPlan {
  readonly version: string
  /** What trains: another engine gives other numbers, so a run stays on its own. */
  readonly engine: { readonly name: string; readonly precision: Precision }
  readonly model: { readonly path: string; readonly sha256: string }
  readonly train: DataPlan
  readonly val: DataPlan | null
  /** Of each data field, without augmentation; and as training sees it. */
  readonly transforms: {
    readonly eval: Readonly<Record<string, Transforms>>
    readonly train: Readonly<Record<string, Transforms>>
  }
  readonly batchSize: number
  readonly epochs: number
  /** Optimizer steps of an epoch; each takes `accumulate` batches. */
  readonly batchesPerEpoch: number
  readonly steps: number
  readonly seed: number
  readonly schedule: SchedulePlan
  readonly evalEvery: number
  readonly settings: RunSettings & TrainingSettings
  /** The ONNX file of a loss of one's own. */
  readonly lossGraph: { readonly path: string; readonly sha256: string } | null
  /** A fresh classifier; absent where the model keeps its own. */
  readonly head?: HeadPlan
}

export interface PlannedRun {
  readonly plan: FinetunePlan
  readonly train: Dataset
  readonly val: Dataset | null
  readonly lossGraph: LossGraphFile | null
}

/** The ONNX file of a loss, read. */
export interface LossGraphFile {
  readonly path: string
  readonly bytes: Uint8Array
}

/** What of an engine is part of a plan. */
export type PlannedEngine = Pick<Engine, 'name' | 'precision'>

/** Opens the data and resolves every option against model and data. */
export async function planFinetune(
  engine: PlannedEngine,
  file: ModelFile,
  options: FinetuneOptions,
): Promise<PlannedRun> {
  const { train, val } = await openData({
    ...options,
    dataOptions: { ...options.dataOptions, model: inputSpecs(file.model) },
  })
  const model = { path: options.model, sha256: await sha256File(options.model) }
  const lossGraph = await readLossGraph(options.lossGraph)
  return {
    plan: await resolvePlan(engine, file.model, model, { train, val, lossGraph }, options),
    train,
    val,
    lossGraph,
  }
}

async function readLossGraph(path: string | undefined): Promise<LossGraphFile | null> {
  if (path === undefined) return null
  try {
    return { path, bytes: await readFile(path) }
  } catch (error) {
    throw new InputError(`loss ${path}: it cannot be read: ${messageOf(error)}`, { cause: error })
  }
}

/** What a plan takes from the options, wherever model and data are. */
export type PlanOptions = Omit<
  FinetuneOptions,
  'model' | 'data' | 'val' | 'run' | 'dataOptions' | 'lossGraph'
> & {
  readonly dataOptions: ImageOptions
}

/** Resolves every option against an engine, an open model and open data. */
export async function resolvePlan(
  engine: PlannedEngine,
  model: Model,
  source: FinetunePlan['model'],
  { train, val, lossGraph }: Omit<PlannedRun, 'plan'>,
  options: PlanOptions,
): Promise<FinetunePlan> {
  const asked = { ...DEFAULT_TRAINING, ...options.settings }
  checkSettings(asked, val !== null)
  const outputs = model.graph.outputs.map(({ name }) => name)
  checkTargetOutputs(train, outputs, lossGraph !== null)
  const head = planHead(model, train, options, asked)
  const settings = head ? withFreshHead(model, head, asked) : asked
  const inputs = inputSpecs(model)
  const transforms = transformsForInputs(train, inputs, options.dataOptions)
  const augmented = Object.fromEntries(
    Object.entries(transforms).map(([name, spec]) => [name, augment(spec, options)]),
  )
  checkMoves(train, augmented)
  const { batchSize, epochs, seed } = options
  const samplesPerStep = batchSize * settings.accumulate
  const batchesPerEpoch = Math.floor(train.length / samplesPerStep)
  if (!(batchesPerEpoch >= 1)) {
    const wanted =
      settings.accumulate === 1
        ? `one batch of ${batchSize}`
        : `${settings.accumulate} batches of ${batchSize}`
    throw new UsageError(`data: ${train.name} has ${train.length} samples, expected at least ${wanted}`, {
      cure: 'use a smaller --batch-size or --accumulate, or more data',
    })
  }
  const length: RunLength = { epochs, batchesPerEpoch, batchSize: samplesPerStep }
  const schedule = planSchedule(options.schedule, length)
  const headSteps = settings.headOnly ? resolvePoint(settings.headOnly.over, length, '--head-only') : 0
  return {
    version: VERSION,
    engine: { name: engine.name, precision: engine.precision ?? 'float32' },
    model: source,
    train: dataPlan(train),
    val: val && dataPlan(val),
    transforms: { eval: transforms, train: augmented },
    ...{ batchSize, epochs, batchesPerEpoch, steps: schedule.batches, seed, schedule },
    evalEvery: resolveLength(options.evalEvery, length, 'validation interval'),
    settings,
    lossGraph: lossGraph && {
      path: lossGraph.path,
      sha256: createHash('sha256').update(lossGraph.bytes).digest('hex'),
    },
    ...(head ? { head } : {}),
    ...(await planWeightsOf(model, settings, headSteps)),
  }
}

/** Settings whose patterns know the weights of the new head. */
function withFreshHead(
  model: Model,
  head: HeadPlan,
  settings: RunSettings & TrainingSettings,
): RunSettings & TrainingSettings {
  const fresh = headWeightNames(model, head, settings)
  return { ...settings, patterns: { ...settings.patterns, fresh } }
}

function checkSettings(
  { select, ema, patience, accumulate }: RunSettings & TrainingSettings,
  val: boolean,
): void {
  if (!Number.isSafeInteger(accumulate) || accumulate < 1)
    throw new UsageError(`--accumulate: expected a positive whole number, found ${accumulate}`)
  if (patience !== null && !(Number.isSafeInteger(patience) && patience >= 1))
    throw new UsageError(`--patience: expected a positive whole number of validations, found ${patience}`)
  if (select === 'ema' && !ema) {
    throw new UsageError('--select ema: the run keeps no moving average', {
      cure: 'give its decay with --ema, such as --ema 0.999',
    })
  }
  if (val) return
  const cure = 'give --val or a --hold-out above 0'
  if (select === 'best' || select === 'gate') {
    throw new UsageError(`--select ${select}: there are no validation data to choose by`, {
      cure: `${cure}, or deliver the average with --select swa`,
    })
  }
  if (patience !== null) throw new UsageError('--patience: there are no validation data to stop by', { cure })
}

async function openData({
  data,
  val,
  dataOptions,
}: FinetuneOptions): Promise<{ train: Dataset; val: Dataset | null }> {
  if (val !== undefined) {
    const train = await openDataset(data, dataOptions)
    return { train, val: await openDataset(val, validationOptions(dataOptions, train)) }
  }
  if (dataOptions.holdOut === 0) return { train: await openDataset(data, dataOptions), val: null }
  const [train, held] = await openTrainAndVal(data, dataOptions)
  return { train, val: held }
}

/** Validation data are read as the training data are, all of them; files of their own go with targets of their own. */
function validationOptions(
  { split: _split, usual: _usual, holdOut: _holdOut, limit: _limit, targets, ...kept }: DataOptions,
  { classes }: Dataset,
): DataOptions {
  const { classes: _classes, classNames: _classNames, seed = 0, ...options } = kept
  return {
    ...options,
    seed,
    ...(targets !== undefined && !isPath(targets) ? { targets } : {}),
    ...(classes ? { classNames: classes } : {}),
  }
}

function isPath(targets: NonNullable<DataOptions['targets']>): boolean {
  return typeof targets === 'string' && /[\\/.]/.test(targets)
}

function augment(spec: Transforms, options: PlanOptions): Transforms {
  const wanted = Object.keys(options.augment).length > 0
  return checkTransforms(withAugment(spec, wanted ? options.augment : null), 'augmentation')
}

function dataPlan(dataset: Dataset): DataPlan {
  return { ...summarizeDataset(dataset), fingerprint: fingerprintDataset(dataset) }
}

/** Entries of a plan that say where things lie; what they are, their hashes say. */
export const PLACES = [
  'model.path',
  'train.name',
  'train.notes',
  'val.name',
  'val.notes',
  'lossGraph.path',
] as const

/** A short name of a plan, for metadata: the same wherever model and data lie. */
export function planDigest(plan: FinetunePlan): string {
  const placeless = (data: DataPlan | null) => data && { ...data, name: '', notes: [] }
  const { model, train, val } = plan
  const loss = plan.lossGraph?.sha256 ?? null
  const known = {
    ...plan,
    model: model.sha256,
    train: placeless(train),
    val: placeless(val),
    lossGraph: loss,
  }
  return createHash('sha256').update(JSON.stringify(known)).digest('hex').slice(0, 16)
}
