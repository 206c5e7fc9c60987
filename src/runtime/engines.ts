/** Every engine there is, and the way from what a person asked for (`--engine cuda:1`) to an open engine. */

import { EnvironmentError, UsageError } from '../util/errors.ts'
import type { Engine } from './engine.ts'

export interface EngineReport {
  readonly name: string
  readonly works: boolean
  /** What was found, or the engine's own words for what is missing. */
  readonly found: string
  /** The command or step that makes it work on this platform. */
  readonly cure: string | null
  /** Whether it is a device that is faster than the CPU: `auto` takes the first such engine that works. */
  readonly accelerated: boolean
}

/** What opening an engine depends on. */
export interface EngineOptions {
  /** Which device, where a machine has several; 0 is the first. */
  readonly device: number
}

/** One engine: a folder exports one of these, and ENGINES has a row for it. */
export interface EngineEntry {
  readonly name: string
  /** Tries it with a small model; never throws. */
  readonly probe: (options: EngineOptions) => Promise<EngineReport>
  readonly open: (options: EngineOptions) => Promise<Engine>
}

/** Engine -> its folder, loaded when it is asked for. The order is that in which `auto` tries them. */
export const ENGINES = {
  webgpu: async () => (await import('./ort-webgpu/index.ts')).webgpu,
  cpu: async () => (await import('./ort-cpu/index.ts')).cpu,
} as const satisfies Record<string, () => Promise<EngineEntry>>

export type EngineName = keyof typeof ENGINES

export const ENGINE_NAMES = Object.keys(ENGINES) as EngineName[]

/** An engine that was asked for, and why it is this one. */
export interface ChosenEngine {
  readonly engine: Engine
  readonly reason: string
}

/**
 * Opens the engine of a text such as `auto`, `cpu` or `cuda:1`. `auto` takes the first accelerated engine that works
 * here, else the CPU. An engine that was named and does not work is an error, with its cure: never silently another.
 */
export async function chooseEngine(text: string): Promise<ChosenEngine> {
  const { name, device } = parseEngine(text)
  if (name !== 'auto') {
    const entry = await ENGINES[name]()
    const report = await entry.probe({ device })
    if (!report.works) {
      throw new EnvironmentError(
        `engine ${text} does not work here: ${report.found}`,
        report.cure === null ? {} : { cure: report.cure },
      )
    }
    return { engine: await entry.open({ device }), reason: 'asked for' }
  }
  const passed: string[] = []
  for (const load of Object.values(ENGINES)) {
    const entry = await load()
    const report = await entry.probe({ device })
    if (report.works && report.accelerated) {
      return { engine: await entry.open({ device }), reason: `auto: ${report.found}` }
    }
    if (entry.name !== 'cpu')
      passed.push(`${entry.name}: ${report.works ? 'works, but is not faster' : report.found}`)
  }
  const cpu = await ENGINES.cpu()
  const reason = passed.length === 0 ? 'auto' : `auto: no faster engine works here (${passed.join('; ')})`
  return { engine: await cpu.open({ device: 0 }), reason }
}

/** `cuda:1` -> { name: 'cuda', device: 1 }. */
export function parseEngine(text: string): { name: EngineName | 'auto'; device: number } {
  const [, name = '', device] = /^([a-z]+)(?::(\d{1,3}))?$/.exec(text) ?? []
  const known = name === 'auto' || ENGINE_NAMES.includes(name as EngineName)
  if (known && (device === undefined || name !== 'auto')) {
    return { name: name as EngineName | 'auto', device: Number(device ?? 0) }
  }
  throw new UsageError(`--engine: expected ${['auto', ...ENGINE_NAMES].join(', ')}, found "${text}"`, {
    cure: 'see `swa-onnx doctor`; a second device is written cuda:1',
  })
}
