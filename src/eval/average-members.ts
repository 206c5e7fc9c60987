/** Members and their average on held-out data, side by side. */

import { rm } from 'node:fs/promises'
import { planAverage, runAverage, type AveragePlan } from '../averaging/index.ts'
import type { Engine } from '../runtime/engine.ts'
import type { AverageModelContext, AverageModelOptions } from './average-model.ts'
import { evaluateModels, type EvaluationReport } from './compare.ts'
import { scoreOf } from './score.ts'
import type { Staging } from './staging.ts'

/**
 * Measures all members, one after the other, and the average. Members that are weights alone are written into the model that
 * receives the average for it; partial averages have no members that could be measured.
 */
export async function evaluateAverage(
  engine: Engine,
  plan: AveragePlan,
  average: string,
  staging: Staging,
  options: AverageModelOptions & { readonly val: string },
  context: AverageModelContext,
): Promise<EvaluationReport> {
  const reports: EvaluationReport[] = []
  const into = plan.template!.path
  for (const { path, format, role } of plan.files) {
    if (role === 'base' || format === 'partial') continue
    if (format === 'onnx') {
      reports.push(await evaluate(engine, path, path, options, context))
      continue
    }
    const model = await staging.temporary('member')
    try {
      const { integers, nonfinite } = options.average ?? {}
      const single = { into, ...(integers ? { integers } : {}), ...(nonfinite ? { nonfinite } : {}) }
      await runAverage(await planAverage([path], single), model)
      reports.push(await evaluate(engine, model, path, options, context))
    } finally {
      for (const file of [model, `${model}.data`]) await rm(file, { force: true })
    }
  }
  reports.push(await evaluate(engine, average, options.out, options, context))
  return joinReports(reports)
}

async function evaluate(
  engine: Engine,
  model: string,
  name: string,
  { val, batchSize, dataOptions, threads }: AverageModelOptions & { readonly val: string },
  { onProgress, signal }: AverageModelContext,
): Promise<EvaluationReport> {
  const settings = { ...(dataOptions ? { dataOptions } : {}), ...(threads === undefined ? {} : { threads }) }
  const report = await evaluateModels(
    engine,
    { models: [model], data: val, batchSize, ...settings },
    {
      signal,
      onProgress: (_, done, total) =>
        onProgress?.({ label: `evaluate ${name}`, done, total, unit: 'samples' }),
    },
  )
  return { ...report, models: report.models.map(entry => ({ ...entry, model: name })) }
}

function joinReports(reports: readonly EvaluationReport[]): EvaluationReport {
  const models = reports.flatMap(report => report.models)
  const comparable = new Set(models.map(({ task }) => task)).size === 1
  const ranked = [...models].sort((a, b) => scoreOf(b.metrics) - scoreOf(a.metrics))
  return {
    ...reports[0]!,
    models,
    best: comparable ? ranked[0]!.model : null,
    notes: [...new Set(reports.flatMap(({ notes }) => notes))],
  }
}
