/** From what a person asked for to an open engine, and why it is this one. */

import { EnvironmentError, invariant, UsageError } from '../util/errors.ts'
import type { Engine, Precision } from './engine.ts'
import {
  AUTO,
  autoChoice,
  CPU,
  ENGINES,
  parseEngine,
  type EngineOptions,
  type EngineReport,
  type EngineRequest,
  type EngineTable,
} from './engines.ts'
import { probeInChild } from './probe-in-child.ts'

/** An engine that was asked for, and why it is this one. */
export interface ChosenEngine {
  readonly engine: Engine
  readonly reason: string
}

/** What is asked of an engine beside its name. */
export type EngineSettings = Omit<EngineOptions, 'device'>

/** The engines to choose from, and how they are tried. */
export interface Choices {
  readonly engines: EngineTable
  readonly probe: (name: string, options: EngineOptions) => Promise<EngineReport>
}

const HERE: Choices = { engines: ENGINES, probe: probeInChild }

/**
 * Opens the engine of a text such as `auto`, `cpu` or `cuda:1`. `auto` takes the first accelerated engine that works
 * here, else the CPU. An engine that was named and does not work is an error, with its cure: never silently another.
 */
export async function chooseEngine(
  asked: string | EngineRequest,
  { precision }: EngineSettings = {},
  choices: Choices = HERE,
): Promise<ChosenEngine> {
  const names = Object.keys(choices.engines)
  const request = typeof asked === 'string' ? parseEngine(asked, [AUTO, ...names]) : asked
  const chosen = await open(request, precision, choices)
  checkPrecision([chosen], precision)
  return chosen
}

/** Opens several to be compared, all of which must work; one of them must know the precision that was asked for. */
export async function chooseEngines(
  requests: readonly EngineRequest[],
  { precision }: EngineSettings = {},
  choices: Choices = HERE,
): Promise<ChosenEngine[]> {
  const chosen: ChosenEngine[] = []
  for (const request of requests) chosen.push(await open(request, precision, choices))
  checkPrecision(chosen, precision)
  return chosen
}

async function open(
  request: EngineRequest,
  precision: Precision | undefined,
  choices: Choices,
): Promise<ChosenEngine> {
  const names = Object.keys(choices.engines)
  const options = { device: request.device, ...(precision === undefined ? {} : { precision }) }
  const { name, reason } =
    request.name === AUTO
      ? await tryAll(names, options, choices)
      : await tryOne(request.name, options, choices)
  const load = choices.engines[name]
  invariant(load, `engine ${name} is in the table`)
  return { engine: await (await load()).open(options), reason }
}

/** Tries engines in order, until one is found that `auto` takes. */
async function tryAll(names: readonly string[], options: EngineOptions, { probe }: Choices) {
  const reports: EngineReport[] = []
  for (const name of names) {
    if (name === CPU) continue
    const report = await probe(name, options)
    reports.push(report)
    if (report.works && report.accelerated) break
  }
  const { name, reason } = autoChoice(reports)
  return { name, reason: `auto: ${reason}` }
}

/** The CPU needs no trial: there is nothing to fall back to, and its first session says what is missing. */
async function tryOne(name: string, options: EngineOptions, { probe }: Choices) {
  if (name === CPU) return { name, reason: 'asked for' }
  const { works, found, cure } = await probe(name, options)
  if (!works) {
    const which = options.device === 0 ? name : `${name}:${options.device}`
    throw new EnvironmentError(`engine ${which} does not work here: ${found}`, cure === null ? {} : { cure })
  }
  return { name, reason: `asked for; ${found}` }
}

/** Engines that ignore the wish would give other numbers than the person thinks. */
function checkPrecision(chosen: readonly ChosenEngine[], asked: Precision | undefined): void {
  const known = chosen.map(({ engine }) => `${engine.name} in ${engine.precision ?? 'float32'}`)
  if (asked === undefined || chosen.some(({ engine }) => (engine.precision ?? 'float32') === asked)) return
  throw new UsageError(`--precision ${asked}: no engine computes in it: ${known.join(', ')}`, {
    cure: 'leave --precision out, or choose another engine',
  })
}
