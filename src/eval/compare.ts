/** Evaluates model files on one data set, side by side. */

import { openDataset, type Batch, type Dataset, type Transforms } from '../data/index.ts'
import { findLogits, refuseQuantized } from '../passes/index.ts'
import type { Engine } from '../runtime/engine.ts'
import { loadModel } from '../serde/index.ts'
import type { Dim } from '../ir/value.ts'
import { evaluateModel } from './evaluate.ts'
import { evaluationSource } from './inference-form.ts'
import { evaluationLoader, inputSpecs, transformsForInputs, type DataOptions } from './loading.ts'
import type { Metrics } from './metrics.ts'
import { scoreOf } from './score.ts'
import { checkClasses, chooseTask, measureFor, type Measure } from './task.ts'

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

export interface EvaluatedModel extends Measure {
  readonly model: string
  readonly output: string
  /** What became of each data field on its way into the model. */
  readonly transforms: Readonly<Record<string, Transforms>>
  readonly metrics: Metrics
  readonly seconds: number
}

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
  const dataset = await openDataset(data, { usual: 'val', ...dataOptions })
  const results: EvaluatedModel[] = []
  for (const plan of plans) results.push(await evaluateOne(engine, plan, dataset, options, context))
  const comparable = new Set(results.map(({ task }) => task)).size === 1
  const ranked = [...results].sort((a, b) => scoreOf(b.metrics) - scoreOf(a.metrics))
  return {
    data: { name: dataset.name, samples: dataset.length, classes: dataset.classes },
    engine: engine.name,
    models: results,
    best: comparable ? ranked[0]!.model : null,
    notes: [...dataset.notes, ...plans.flatMap(plan => classNote(plan, dataset))],
  }
}

/** What is known of a model from its file. */
export interface ModelPlan {
  readonly path: string
  readonly inputs: ReturnType<typeof inputSpecs>
  readonly output: string
  readonly shape: readonly Dim[] | null
  readonly activation: ReturnType<typeof findLogits>['activation']
}

export async function planModel(path: string, output: string | undefined): Promise<ModelPlan> {
  const file = await loadModel(path)
  try {
    refuseQuantized(file.model)
    const logits = findLogits(file.model, output)
    const { type, name } = logits.output
    const shape = type?.kind === 'tensor' ? type.shape : null
    return { path, inputs: inputSpecs(file.model), output: name, shape, activation: logits.activation }
  } finally {
    await file.close()
  }
}

/** Labels are numbered by the classes that are there: where some are missing, the numbers may mean others. */
export function classNote({ path, shape }: ModelPlan, { classes, name }: Dataset): string[] {
  const outputs = shape?.[1]
  if (classes === null || typeof outputs !== 'number' || outputs <= classes.length || outputs < 2) return []
  const known = `${name} has ${classes.length} classes, ${path} has ${outputs} outputs`
  return [`${known}: output 0 is taken for "${classes[0]!}" and so on; --class-names says it otherwise`]
}

/** What a model is measured by on a data set, and the batches that it is fed. */
export interface MeasuredData {
  readonly measure: Measure
  readonly transforms: Readonly<Record<string, Transforms>>
  /** Of the size that the model insists on, or that was asked for. */
  readonly batches: (fixed: number | null) => AsyncIterable<Batch>
}

export function measuredData(
  { inputs, shape, activation }: ModelPlan,
  dataset: Dataset,
  { dataOptions, batchSize }: Pick<EvaluationOptions, 'dataOptions' | 'batchSize'>,
  signal: AbortSignal | undefined,
): MeasuredData {
  const measure = measureFor(chooseTask(activation, shape, dataset), activation)
  if (measure.task === 'classification' && typeof shape?.[1] === 'number') checkClasses(dataset, shape[1])
  const transforms = transformsForInputs(dataset, inputs, dataOptions)
  const batches = (fixed: number | null) =>
    evaluationLoader(dataset, transforms, fixed ?? batchSize).batches(0, 0, signal)
  return { measure, transforms, batches }
}

async function evaluateOne(
  engine: Engine,
  plan: ModelPlan,
  dataset: Dataset,
  options: EvaluationOptions,
  { onProgress, signal }: EvaluationContext,
): Promise<EvaluatedModel> {
  const { path, output } = plan
  const { measure, transforms, batches } = measuredData(plan, dataset, options, signal)
  const start = performance.now()
  const metrics = await evaluateModel(engine, await evaluationSource(path), batches, {
    ...measure,
    output,
    threads: options.threads,
    signal,
    onProgress: samples => onProgress?.(path, samples, dataset.length),
  })
  const seconds = (performance.now() - start) / 1000
  return { model: path, output, ...measure, transforms, metrics, seconds }
}
