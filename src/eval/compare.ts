/** Evaluates model files on one data set, side by side. */

import { openDataset, type Batch, type Dataset, type Transforms } from '../data/index.ts'
import { findLogits, refuseQuantized } from '../passes/index.ts'
import type { Engine } from '../runtime/engine.ts'
import { loadModel } from '../serde/index.ts'
import { UsageError } from '../util/errors.ts'
import type { Model } from '../ir/graph.ts'
import { evaluateInDetail, type Evaluation } from './evaluate.ts'
import { evaluationSource, formNotes } from './inference-form.ts'
import { evaluationLoader, inputSpecs, transformsForInputs, type DataOptions } from './loading.ts'
import type { ClassFigures, Metrics, OutputKind, Task } from './metrics.ts'
import { scoreOf } from './score.ts'
import {
  belongsTo,
  checkClasses,
  checkTargetOutputs,
  findTarget,
  measureOutput,
  type MeasuredOutput,
  type OutputInfo,
} from './task.ts'

export interface EvaluationOptions {
  readonly models: readonly string[]
  readonly data: string
  readonly dataOptions?: DataOptions
  /** Samples of one run; models that insist on another size get theirs. */
  readonly batchSize: number
  /** The output to measure; default: the only one. */
  readonly output?: string
  readonly threads?: number
}

export interface EvaluationContext {
  readonly onProgress?: (model: string, samples: number, total: number) => void
  readonly signal?: AbortSignal | undefined
}

export interface EvaluatedModel {
  readonly model: string
  /** The main output that was measured; metrics of others are called `output.name`. */
  readonly output: string
  readonly task: Task
  readonly kind: OutputKind
  /** What became of each data field on its way into the model. */
  readonly transforms: Readonly<Record<string, Transforms>>
  readonly metrics: Metrics
  /** By output, then by class. */
  readonly perClass: Readonly<Record<string, readonly ClassReport[]>>
  readonly seconds: number
}

/** One class of an output; figures are left out where it neither occurs nor is predicted. */
export type ClassReport = { readonly class: string } & Partial<ClassFigures>

export interface EvaluationReport {
  readonly data: {
    readonly name: string
    readonly samples: number
    readonly classes: readonly string[] | null
  }
  readonly engine: string
  readonly models: readonly EvaluatedModel[]
  /** The model of the highest score; null where models are measured by different tasks. */
  readonly best: string | null
  readonly notes: readonly string[]
}

/** Evaluates one model after the other. */
export async function evaluateModels(
  engine: Engine,
  options: EvaluationOptions,
  context: EvaluationContext = {},
): Promise<EvaluationReport> {
  const { models, data, dataOptions = {} } = options
  const plans: ModelPlan[] = []
  for (const model of models) plans.push(await planModel(model, options.output))
  const dataset = await openDataset(data, { usual: 'val', ...dataOptions, model: plans[0]!.inputs })
  const results: EvaluatedModel[] = []
  for (const plan of plans) results.push(await evaluateOne(engine, plan, dataset, options, context))
  const comparable = new Set(results.map(({ task }) => task)).size === 1
  const ranked = [...results].sort((a, b) => scoreOf(b.metrics) - scoreOf(a.metrics))
  return {
    data: { name: dataset.name, samples: dataset.length, classes: dataset.classes },
    engine: engine.name,
    models: results,
    best: comparable ? ranked[0]!.model : null,
    notes: [...dataset.notes, ...plans.flatMap(plan => planNotes(plan, dataset))],
  }
}

/** What is known of a model from its file. */
export interface ModelPlan {
  readonly path: string
  readonly inputs: ReturnType<typeof inputSpecs>
  /** The output that was asked for; else all. */
  readonly outputs: readonly OutputInfo[]
  /** Names of all outputs. */
  readonly names: readonly string[]
  /** Remarks on the form in which it is evaluated. */
  readonly notes: readonly string[]
}

export async function planModel(path: string, output: string | undefined): Promise<ModelPlan> {
  const file = await loadModel(path)
  try {
    refuseQuantized(file.model)
    return { path, ...planOpen(file.model, output) }
  } finally {
    await file.close()
  }
}

/** What is known of an open model. */
export function planOpen(model: Model, output: string | undefined): Omit<ModelPlan, 'path'> {
  const names = model.graph.outputs.map(({ name }) => name)
  const wanted = output === undefined && names.length > 0 ? names : [output]
  const outputs = wanted.map(name => outputInfo(model, name))
  return { inputs: inputSpecs(model), outputs, names, notes: formNotes(model) }
}

function outputInfo(model: Model, output: string | undefined): OutputInfo {
  const { output: found, activation, axis } = findLogits(model, output)
  const { type, name } = found
  return { name, shape: type?.kind === 'tensor' ? type.shape : null, activation, axis }
}

/** What a person should know about the evaluation of a model on a data set. */
export function planNotes(plan: ModelPlan, dataset: Dataset): string[] {
  return [...plan.notes.map(note => `${plan.path}: ${note}`), ...classNote(plan, dataset)]
}

/** Labels are numbered by the classes that are there: where some are missing, the numbers may mean others. */
function classNote({ path, outputs: [output] }: ModelPlan, { classes, name }: Dataset): string[] {
  const outputs = output?.shape?.[1]
  if (classes === null || typeof outputs !== 'number' || outputs <= classes.length || outputs < 2) return []
  const known = `${name} has ${classes.length} classes, ${path} has ${outputs} outputs`
  return [`${known}: output 0 is taken for "${classes[0]!}" and so on; --class-names says it otherwise`]
}

/** What a model is measured by on a data set, and the batches that it is fed. */
export interface MeasuredData {
  readonly measured: readonly MeasuredOutput[]
  readonly transforms: Readonly<Record<string, Transforms>>
  /** Of the size that the model insists on, or that was asked for. */
  readonly batches: (fixed: number | null) => AsyncIterable<Batch>
}

export function measuredData(
  plan: Omit<ModelPlan, 'path'>,
  dataset: Dataset,
  { dataOptions, batchSize }: Pick<EvaluationOptions, 'dataOptions' | 'batchSize'>,
  signal: AbortSignal | undefined,
): MeasuredData {
  const ignored = dataOptions?.ignoreIndex === undefined ? {} : { ignoreIndex: dataOptions.ignoreIndex }
  const measured = chooseMeasured(plan, dataset).map(measure => ({ ...measure, ...ignored }))
  const transforms = transformsForInputs(dataset, plan.inputs, dataOptions)
  const batches = (fixed: number | null) =>
    evaluationLoader(dataset, transforms, fixed ?? batchSize).batches(0, 0, signal)
  return { measured, transforms, batches }
}

/** The outputs that have a target: an only one, or of several those that a target is named after. */
function chooseMeasured({ outputs, names }: Omit<ModelPlan, 'path'>, dataset: Dataset): MeasuredOutput[] {
  checkTargetOutputs(dataset, names)
  const named = outputs.filter(({ name }) => dataset.targets.some(target => belongsTo(target, name, names)))
  // An only target without a name goes with any output.
  const [only, ...others] = dataset.targets
  const open = others.length === 0 && only!.name === '0' && only!.output === undefined
  if (outputs.length > 1 && (open || named.length === 0)) {
    throw new UsageError(`evaluate: which output is measured? Found ${names.join(', ')}`, {
      cure: 'name one with --output',
    })
  }
  const wanted = outputs.length > 1 ? named : outputs
  return wanted.map(info => {
    const target = findTarget(dataset, info.name, names)
    const measure = measureOutput(info, target)
    const classes = info.shape?.[measure.axis ?? 1]
    const counted = measure.task === 'classification' || measure.task === 'segmentation'
    if (counted && typeof classes === 'number') checkClasses(dataset, target, classes)
    return measure
  })
}

async function evaluateOne(
  engine: Engine,
  plan: ModelPlan,
  dataset: Dataset,
  options: EvaluationOptions,
  { onProgress, signal }: EvaluationContext,
): Promise<EvaluatedModel> {
  const { path } = plan
  const { measured, transforms, batches } = measuredData(plan, dataset, options, signal)
  const start = performance.now()
  const { metrics, perClass } = await evaluateInDetail(engine, await evaluationSource(path), batches, {
    ...{ measured, threads: options.threads, signal },
    onProgress: samples => onProgress?.(path, samples, dataset.length),
  })
  const seconds = (performance.now() - start) / 1000
  const { output, task, kind } = measured[0]!
  return {
    model: path,
    output,
    task,
    kind,
    transforms,
    metrics,
    perClass: named(perClass, measured),
    seconds,
  }
}

/** Figures by class with the names of the classes. */
function named(
  perClass: Evaluation['perClass'],
  measured: readonly MeasuredOutput[],
): Record<string, ClassReport[]> {
  const entries = Object.entries(perClass).map(([output, classes]) => {
    const names = measured.find(measure => measure.output === output)?.classes
    // Of one yes-no decision "yes" is the class that has figures.
    const first = classes.length === 1 && names?.length === 2 ? 1 : 0
    return [
      output,
      classes.map((figures, c) => ({ class: names?.[c + first] ?? String(c + first), ...figures })),
    ] as const
  })
  return Object.fromEntries(entries)
}
