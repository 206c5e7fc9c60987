/** Runs a model over labelled batches and measures its outputs. */

import { padBatch, type Batch } from '../data/index.ts'
import type { Engine, ModelSource, Runner } from '../runtime/engine.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { InputError, InterruptedError } from '../util/errors.ts'
import { bindInputs, fixedBatchSize } from './feeds.ts'
import { LossMeter, type LossToMeasure } from './loss-meter.ts'
import { MetricsAccumulator, type ClassFigures, type Metrics } from './metrics.ts'
import type { MeasuredOutput } from './task.ts'

export interface EvaluateOptions {
  /** The outputs to measure; metrics of the second and those after it are called `output.name`. */
  readonly measured: readonly MeasuredOutput[]
  /** A loss of the person's own: it is what is measured, in place of `measured`. */
  readonly loss?: LossToMeasure | null
  readonly threads?: number | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: (samples: number) => void
}

/** Batches of the size that is asked for. */
export type BatchSource = (batchSize: number | null) => AsyncIterable<Batch>

export interface Evaluation {
  readonly metrics: Metrics
  /** By output, then by class: precision, recall, F1 and IoU; outputs without classes are not there. */
  readonly perClass: Readonly<Record<string, readonly (ClassFigures | null)[]>>
}

/** The metrics of a model. */
export async function evaluateModel(
  engine: Engine,
  model: ModelSource,
  batches: BatchSource,
  options: EvaluateOptions,
): Promise<Metrics> {
  return (await evaluateInDetail(engine, model, batches, options)).metrics
}

/** The metrics of a model, by class too. */
export async function evaluateInDetail(
  engine: Engine,
  model: ModelSource,
  batches: BatchSource,
  options: EvaluateOptions,
): Promise<Evaluation> {
  const session = options.threads === undefined ? {} : { threads: options.threads }
  const runner = await engine.openRunner(model, session)
  try {
    if (!options.loss) return await measureOutputs(runner, batches, options)
    const meter = await LossMeter.open(engine, options.loss, session)
    try {
      await runAll(runner, batches, meter.outputs, options, (outputs, batch) => meter.add(outputs, batch))
      return { metrics: meter.result(), perClass: {} }
    } finally {
      await meter.close()
    }
  } finally {
    await runner.close()
  }
}

async function measureOutputs(
  runner: Runner,
  batches: BatchSource,
  options: EvaluateOptions,
): Promise<Evaluation> {
  const lanes = options.measured.map(measure => ({ measure, accumulator: new MetricsAccumulator(measure) }))
  const names = lanes.map(({ measure }) => measure.output)
  await runAll(runner, batches, names, options, (outputs, { targets, size }) => {
    for (const { measure, accumulator } of lanes)
      accumulator.add(outputs.get(measure.output)!, targets.get(measure.target)!, size)
  })
  const figures = lanes.map(({ measure, accumulator }) => ({ measure, metrics: accumulator.result() }))
  const perClass = lanes.flatMap(({ measure, accumulator }) => {
    const classes = accumulator.perClass()
    return classes ? [[measure.output, classes] as const] : []
  })
  return { metrics: joinMetrics(figures), perClass: Object.fromEntries(perClass) }
}

/** Runs the model over all batches. */
async function runAll(
  runner: Runner,
  batches: BatchSource,
  outputs: readonly string[],
  { signal, onProgress }: EvaluateOptions,
  onBatch: (outputs: ReadonlyMap<string, Tensor>, batch: Batch) => Promise<void> | void,
): Promise<void> {
  const known = runner.outputs.map(({ name }) => name)
  const stranger = outputs.find(name => !known.includes(name))
  if (stranger !== undefined) {
    throw new InputError(`evaluate: no output "${stranger}", found ${known.join(', ')}`, {
      cure: 'name one with --output',
    })
  }
  const fixed = fixedBatchSize(runner.inputs)
  let samples = 0
  for await (const batch of batches(fixed)) {
    if (signal?.aborted) throw new InterruptedError('evaluation was interrupted')
    const { inputs } = fixed === null ? batch : padBatch(batch, fixed)
    await onBatch(await runner.run(bindInputs(inputs, runner.inputs), outputs), batch)
    samples += batch.size
    onProgress?.(samples)
  }
}

/** The metrics of one output, or of several under names of their own; the loss of several is their weighted sum. */
function joinMetrics(
  figures: readonly { readonly measure: MeasuredOutput; readonly metrics: Metrics }[],
): Metrics {
  const [first, ...others] = figures
  if (!first) throw new InputError('evaluate: no output is measured')
  if (others.length === 0) return first.metrics
  const weighted = ({ measure, metrics }: typeof first) => (measure.weight ?? 1) * metrics.loss
  const named = others.flatMap(({ measure, metrics: { samples: _, ...rest } }) =>
    Object.entries(rest).map(([name, value]) => [`${measure.output}.${name}`, value] as const),
  )
  return {
    ...first.metrics,
    loss: figures.reduce((sum, entry) => sum + weighted(entry), 0),
    [`${first.measure.output}.loss`]: first.metrics.loss,
    ...Object.fromEntries(named),
  }
}
