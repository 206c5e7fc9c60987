/** The engine of a command: chosen, and said aloud. */

import type { ChosenEngine } from '../runtime/choose-engine.ts'
import type { Engine, Precision } from '../runtime/engine.ts'
import { AUTO, parseEngine, parsePrecision, type EngineRequest } from '../runtime/engines.ts'
import { given, type EngineArguments } from './options.ts'
import type { Terminal } from './terminal.ts'

/** Which engine did the work, and why this one: part of every result with --json. */
export interface UsedEngine {
  readonly name: string
  readonly description: string
  readonly precision: string
  readonly reason: string
}

/** What was asked for, checked before anything else is done. */
export interface AskedEngine {
  readonly request: EngineRequest
  readonly precision: Precision | undefined
  /** Whether nobody asked. */
  readonly isDefault: boolean
}

/** `fallback`: the engine of those who do not ask. `training`: whether it is asked to train. */
export function askedEngine(
  { engine, precision }: Pick<EngineArguments, 'engine' | 'precision'>,
  fallback: string,
  training = false,
): AskedEngine {
  return {
    request: parseEngine(engine ?? fallback),
    precision: precision === undefined ? undefined : parsePrecision(precision, training),
    isDefault: engine === undefined,
  }
}

/** Opens the engine that was asked for, and prints which one it is. */
export async function openEngine(
  { request, precision, isDefault }: AskedEngine,
  terminal: Terminal,
): Promise<{ engine: Engine; used: UsedEngine }> {
  const { chooseEngine } = await import('../runtime/choose-engine.ts')
  const { engine, reason } = await chooseEngine(request, given({ precision }))
  const named = isDefault && request.name !== AUTO
  return { engine, used: announce({ engine, reason: named ? 'the default' : reason }, terminal) }
}

/** Opens several, each of which must work. */
export async function openEngines(
  requests: readonly EngineRequest[],
  precision: Precision | undefined,
  terminal: Terminal,
): Promise<{ engines: Engine[]; used: UsedEngine[] }> {
  const { chooseEngines } = await import('../runtime/choose-engine.ts')
  const chosen = await chooseEngines(requests, given({ precision }))
  return { engines: chosen.map(({ engine }) => engine), used: chosen.map(one => announce(one, terminal)) }
}

function announce({ engine, reason }: ChosenEngine, terminal: Terminal): UsedEngine {
  const { name, description, precision = 'float32' } = engine
  terminal.info(`engine ${name} (${reason}): ${description}`)
  return { name, description, precision, reason }
}
