/** Runs a model over labelled batches and measures it. */

import { padBatch, targetFor, type Batch } from '../data/index.ts'
import type { Engine, ModelSource, Runner } from '../runtime/engine.ts'
import { InputError, InterruptedError } from '../util/errors.ts'
import { bindInputs, fixedBatchSize } from './feeds.ts'
import { MetricsAccumulator, type Metrics, type OutputKind, type Task } from './metrics.ts'

export interface EvaluateOptions {
  readonly task: Task
  /** What the measured output holds. */
  readonly kind: OutputKind
  /** The output to measure; default: the only one. */
  readonly output?: string | undefined
  readonly ignoreIndex?: number
  readonly threads?: number | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: (samples: number) => void
}

/** Evaluates a model; `batches` gives the data in batches of the size it is asked for. */
export async function evaluateModel(
  engine: Engine,
  model: ModelSource,
  batches: (batchSize: number | null) => AsyncIterable<Batch>,
  options: EvaluateOptions,
): Promise<Metrics> {
  const runner = await engine.openRunner(
    model,
    options.threads === undefined ? {} : { threads: options.threads },
  )
  try {
    return await measure(runner, batches, options)
  } finally {
    await runner.close()
  }
}

async function measure(
  runner: Runner,
  batches: (batchSize: number | null) => AsyncIterable<Batch>,
  options: EvaluateOptions,
): Promise<Metrics> {
  const output = chooseOutput(runner, options.output)
  const outputs = runner.outputs.map(({ name }) => name)
  const fixed = fixedBatchSize(runner.inputs)
  const metrics = new MetricsAccumulator(options.task, options.kind, options.ignoreIndex)
  let samples = 0
  for await (const batch of batches(fixed)) {
    if (options.signal?.aborted) throw new InterruptedError('evaluation was interrupted')
    const { inputs } = fixed === null ? batch : padBatch(batch, fixed)
    const result = await runner.run(bindInputs(inputs, runner.inputs), [output])
    metrics.add(result.get(output)!, targetFor(batch.targets, output, outputs), batch.size)
    samples += batch.size
    options.onProgress?.(samples)
  }
  return metrics.result()
}

function chooseOutput(runner: Runner, name: string | undefined): string {
  const names = runner.outputs.map(output => output.name)
  if (name === undefined && names.length === 1) return names[0]!
  if (name !== undefined && names.includes(name)) return name
  throw new InputError(
    `evaluate: ${name === undefined ? 'which output is measured?' : `no output "${name}"`} Found ${names.join(', ')}`,
    {
      cure: 'name one with --output',
    },
  )
}
