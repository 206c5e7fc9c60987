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
  precision?: Precision,
  choices: Choices = HERE,
): Promise<ChosenEngine> {
  const names = Object.keys(choices.engines)
  const request = typeof asked === 'string' ? parseEngine(asked, '--engine', names) : asked
  const options = { device: request.device, ...(precision === undefined ? {} : { precision }) }
  const { name, reason } =
    request.name === AUTO
      ? await tryAll(names, options, choices)
      : await tryOne(request.name, options, choices)
  const load = choices.engines[name]
  invariant(load, `engine ${name} is in the table`)
  const engine = await (await load()).open(options)
  checkPrecision(engine, precision)
  return { engine, reason }
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

/** An engine that ignores the wish would give other numbers than the person thinks. */
function checkPrecision({ name, precision = 'float32' }: Engine, asked: Precision | undefined): void {
  if (asked === undefined || asked === precision) return
  throw new UsageError(`--precision ${asked}: engine ${name} computes in ${precision}`, {
    cure: 'leave --precision out, or choose another --engine',
  })
}
