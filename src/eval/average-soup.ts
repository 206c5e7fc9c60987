/** Measures averages of members on held-out data, to choose the best (soup.ts). */

import { rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { planAverage, runAverage } from '../averaging/index.ts'
import type { Engine } from '../runtime/engine.ts'
import { UsageError } from '../util/errors.ts'
import type { AverageModelContext, AverageModelOptions } from './average-model.ts'
import { evaluateModels } from './compare.ts'
import { recalibrateModel } from './recalibrate-model.ts'
import { scoreOf } from './score.ts'
import { findSoup, weightsOfSome, type Soup, type SoupKind } from './soup.ts'

/** A soup with the files of its members. */
export interface ChosenSoup extends Omit<Soup, 'members' | 'tried'> {
  readonly members: readonly string[]
  readonly tried: readonly { readonly members: readonly string[]; readonly score: number }[]
}

/**
 * Chooses members by the score of their average on `val`. Averages of several members are recalibrated on `data` if they
 * have batch norms; single members are measured as they are.
 */
export async function chooseSoup(
  engine: Engine,
  kind: SoupKind,
  options: AverageModelOptions & { readonly val: string },
  batchNorms: (model: string) => Promise<number>,
  context: AverageModelContext,
): Promise<ChosenSoup> {
  const { checkpoints, average = {}, val, out, data, mode, batchSize, dataOptions, threads } = options
  const { method = { kind: 'mean' } } = average
  if (method.kind !== 'mean') {
    throw new UsageError(`average: a soup is a mean of some members, found the method ${method.kind}`)
  }
  const settings = {
    batchSize,
    ...(dataOptions ? { dataOptions } : {}),
    ...(threads === undefined ? {} : { threads }),
  }
  const name = basename(out, '.onnx')
  const [trial, calibrated] = ['trial', 'calibrated'].map(what =>
    join(dirname(out), `.${name}.${what}.onnx`),
  ) as [string, string]
  const limits = context.signal ? { signal: context.signal } : {}

  /** The model that stands for some members. */
  const modelOf = async (paths: readonly string[], members: readonly number[]): Promise<string> => {
    const plan = await planAverage(paths, weightsOfSome(average, members))
    const [only, ...more] = plan.files
    if (more.length === 0 && only!.format === 'onnx') return only!.path
    await runAverage(plan, trial, limits)
    if (data === undefined || more.length === 0 || (await batchNorms(trial)) === 0) return trial
    await recalibrateModel(engine, { model: trial, data, out: calibrated, mode, ...settings }, limits)
    return calibrated
  }

  let done = 0
  const measure = async (members: readonly number[]): Promise<number> => {
    const paths = members.map(k => checkpoints[k]!)
    try {
      const model = await modelOf(paths, members)
      const report = await evaluateModels(engine, { models: [model], data: val, ...settings }, limits)
      const label = `soup: measured ${paths.map(path => basename(path)).join(' + ')}`
      done++
      context.onProgress?.({ label, done, total: Math.max(done, checkpoints.length), unit: 'averages' })
      return scoreOf(report.models[0]!.metrics)
    } finally {
      for (const path of [trial, calibrated]) {
        await rm(path, { force: true })
        await rm(`${path}.data`, { force: true })
      }
    }
  }
  const soup = await findSoup(kind, checkpoints.length, measure)
  const named = (members: readonly number[]) => members.map(k => checkpoints[k]!)
  return {
    ...{ kind, score: soup.score, members: named(soup.members) },
    tried: soup.tried.map(({ members, score }) => ({ members: named(members), score })),
  }
}
