/** After a run on another engine than the CPU: does the delivered model give the same on both? */

import { crossValidate } from '../eval/cross-validate.ts'
import { describeVerdict } from '../eval/report-engines.ts'
import type { Parting } from '../eval/find-parting.ts'
import type { Metrics } from '../eval/metrics.ts'
import { CPU } from '../runtime/engines.ts'
import { InterruptedError, messageOf } from '../util/errors.ts'
import type { FinetuneContext, FinetuneOptions } from './options.ts'
import { evaluationBatches, type TrainingSession } from './session.ts'

export interface EngineCheck {
  readonly reference: string
  readonly engine: string
  readonly samples: number
  readonly agrees: boolean
  /** The largest relative difference of an output (difference.ts), and what is taken for rounding of it. */
  readonly relative: number
  readonly tolerance: number
  /** Share of samples that both give the same class; null where there are no classes. */
  readonly sameClass: number | null
  /** Null where the loss is a graph: outputs are only compared. */
  readonly metrics: { readonly reference: Metrics | null; readonly engine: Metrics | null }
  /** Where they part; null if they agree, or if no single node is the reason. */
  readonly parting: Parting | null
}

/** As many batches as show a wrong kernel; the CPU takes its time for each. */
const BATCHES = 4

/** Compares on a few validation batches, else training batches. The model is written: whatever goes wrong is a warning. */
export async function checkEngine(
  session: TrainingSession,
  model: string,
  { threads }: FinetuneOptions,
  { onEvent, signal }: FinetuneContext,
): Promise<EngineCheck | null> {
  const { engine, plan, measured, val, calibration } = session
  if (engine.name === CPU) return null
  const { cpuEngine } = await import('../runtime/ort-cpu/engine.ts')
  const dataset = val ?? calibration
  const total = Math.min(dataset.length, BATCHES * plan.batchSize)
  const label = `compare ${engine.name} with the CPU`
  const warn = (message: string) => {
    onEvent({ kind: 'warning', message })
  }
  try {
    const { engines, comparisons } = await crossValidate(
      [cpuEngine(), engine],
      model,
      evaluationBatches(session, dataset, signal),
      {
        ...{ measured: measured[0] ?? null, threads, signal },
        batches: BATCHES,
        onProgress: done => {
          onEvent({ kind: 'progress', label, done, total, unit: 'samples' })
        },
        onSearch: (done, total) => {
          onEvent({ kind: 'progress', label: 'look for the node', done, total, unit: 'values' })
        },
      },
    )
    const [reference, other] = engines
    const comparison = comparisons[0]!
    for (const line of describeVerdict(reference!.name, comparison)) warn(line)
    const excess = ({ difference, tolerance }: (typeof comparison.outputs)[number]) =>
      difference.relative / tolerance
    const worst = comparison.outputs.reduce((a, b) => (excess(b) > excess(a) ? b : a))
    return {
      ...{ reference: reference!.name, engine: engine.name, agrees: comparison.agrees },
      samples: reference!.samples,
      relative: worst.difference.relative,
      tolerance: worst.tolerance,
      sameClass: comparison.outputs.find(({ sameClass }) => sameClass !== null)?.sameClass ?? null,
      metrics: { reference: reference!.metrics, engine: other!.metrics },
      parting: comparison.parting,
    }
  } catch (error) {
    if (error instanceof InterruptedError || signal?.aborted) throw error
    warn(`the delivered model could not be compared with the CPU: ${messageOf(error)}`)
    return null
  }
}
