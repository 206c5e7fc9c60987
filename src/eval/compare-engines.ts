/** Evaluates model files on several engines at once: whether they agree, and where they do not. */

import { openDataset, type Transforms } from '../data/index.ts'
import type { Engine } from '../runtime/engine.ts'
import { CheckError } from '../util/errors.ts'
import { planNotes, measuredData, planModel, type EvaluationOptions } from './compare.ts'
import { crossValidate, type CrossValidation } from './cross-validate.ts'

export interface EngineComparisonOptions extends EvaluationOptions {
  /** Largest relative difference that is taken for rounding; default: see tolerance.ts. */
  readonly tolerance?: number
}

export interface EngineComparisonContext {
  readonly onProgress?: (model: string, samples: number, total: number) => void
  /** While the node at which engines part is looked for. */
  readonly onSearch?: (model: string, values: number, total: number) => void
  readonly signal?: AbortSignal | undefined
}

export interface EngineComparison {
  readonly data: { readonly name: string; readonly samples: number }
  /** What became of each data field on its way into the first model. */
  readonly transforms: Readonly<Record<string, Transforms>>
  /** Whether all engines agree on all models. */
  readonly agrees: boolean
  readonly models: readonly CrossValidation[]
  readonly notes: readonly string[]
}

/** One model after the other; the first engine is the reference. */
export async function crossValidateModels(
  engines: readonly [Engine, ...Engine[]],
  options: EngineComparisonOptions,
  { onProgress, onSearch, signal }: EngineComparisonContext = {},
): Promise<EngineComparison> {
  const { data, dataOptions = {}, tolerance, threads } = options
  const plans = []
  for (const model of options.models) plans.push(await planModel(model, options.output))
  const dataset = await openDataset(data, { usual: 'val', ...dataOptions, model: plans[0]!.inputs })
  const models: CrossValidation[] = []
  const measured = plans.map(plan => measuredData(plan, dataset, options, signal))
  for (const [i, { path }] of plans.entries()) {
    const { measured: outputs, batches } = measured[i]!
    const progress = {
      onProgress: (samples: number) => onProgress?.(path, samples, dataset.length),
      onSearch: (values: number, total: number) => onSearch?.(path, values, total),
    }
    const settings = { measured: outputs[0]!, tolerance, threads, signal, ...progress }
    models.push(await crossValidate(engines, path, batches, settings))
  }
  return {
    data: { name: dataset.name, samples: dataset.length },
    transforms: measured[0]?.transforms ?? {},
    agrees: models.every(({ agrees }) => agrees),
    models,
    notes: [...dataset.notes, ...plans.flatMap(plan => planNotes(plan, dataset))],
  }
}

/** Throws a CheckError that names the engines that differ; the comparison itself is complete either way. */
export function checkAgreement({ models }: Pick<EngineComparison, 'models'>): void {
  const wrong = models.flatMap(({ model, comparisons }) =>
    comparisons.filter(({ agrees }) => !agrees).map(({ engine }) => `${engine} on ${model}`),
  )
  if (wrong.length === 0) return
  throw new CheckError(`engines differ beyond the tolerance: ${wrong.join(', ')}`, {
    cure: 'the result names the node; if so much is rounding for you, widen --tolerance',
  })
}
