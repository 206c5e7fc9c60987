/** Every engine there is, and what a person may ask of them (`--engine cuda:1`). Loading this file loads no engine. */

import { UsageError } from '../util/errors.ts'
import type { Engine, Precision } from './engine.ts'

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
  /** The arithmetic that is asked for; default: the engine's own. An engine without it is refused by `chooseEngine`. */
  readonly precision?: Precision
}

/** One engine: a folder exports one of these, and ENGINES has a row for it. */
export interface EngineEntry {
  readonly name: string
  /** Tries it with a small model; never throws. It runs in a process of its own (probe-in-child.ts). */
  readonly probe: (options: EngineOptions) => Promise<EngineReport>
  readonly open: (options: EngineOptions) => Promise<Engine>
}

/** Engine -> its folder, loaded when it is asked for. The order is that in which `auto` tries them. */
export const ENGINES = {
  cuda: async () => (await import('./ort-cuda/index.ts')).cuda,
  webgpu: async () => (await import('./ort-webgpu/index.ts')).webgpu,
  tfjs: async () => (await import('./tfjs/index.ts')).tfjs,
  cpu: async () => (await import('./ort-cpu/index.ts')).cpu,
} as const satisfies EngineTable

export type EngineTable = Readonly<Record<string, () => Promise<EngineEntry>>>

export const ENGINE_NAMES: readonly string[] = Object.keys(ENGINES)

/** The engine that is always there, and what others are measured against. */
export const CPU = 'cpu'

/** What lets the best engine be chosen. */
export const AUTO = 'auto'

/** Engines of which a machine may have several. */
const WITH_DEVICES: ReadonlySet<string> = new Set(['cuda'])

/** A text such as `cuda:1`, taken apart. */
export interface EngineRequest {
  /** A name in the table, or `auto`. */
  readonly name: string
  readonly device: number
}

/**
 * `cuda:1` -> { name: 'cuda', device: 1 }.
 *
 * @param known the names that may be given; default: all, and `auto`
 * @param option what errors call it
 */
export function parseEngine(
  text: string,
  known: readonly string[] = [AUTO, ...ENGINE_NAMES],
  option = '--engine',
): EngineRequest {
  const [, name = '', device] = /^([a-z]+)(?::(\d{1,3}))?$/.exec(text) ?? []
  if (!known.includes(name)) {
    throw new UsageError(`${option}: expected ${inWords(known)}, found "${text}"`, {
      cure: 'see `swa-onnx doctor` for what works here',
    })
  }
  if (device !== undefined && !WITH_DEVICES.has(name)) {
    throw new UsageError(`${option}: ${name} has no devices to choose from, found "${text}"`, {
      cure: `write ${name}`,
    })
  }
  return { name, device: Number(device ?? 0) }
}

/** `cpu,cuda:1` -> two requests; `auto` is none, for a comparison says what it compares. */
export function parseEngines(text: string, names = ENGINE_NAMES, option = '--engines'): EngineRequest[] {
  const parts = text.split(',').map(part => part.trim())
  const requests = parts.map(part => parseEngine(part, names, option))
  if (requests.length < 2 || new Set(parts).size < parts.length) {
    throw new UsageError(`${option}: expected two or more different engines, found "${text}"`, {
      cure: `name the reference first: ${engineList(names)}`,
    })
  }
  return requests
}

/** The arithmetic of any command; training can also be mixed. */
const PRECISIONS: readonly Precision[] = ['float32', 'tf32']
const TRAINING_PRECISIONS: readonly Precision[] = [...PRECISIONS, 'float16']

/** What else people call these. */
const HALF = /^(fp16|float16|half|mixed|amp)$/
const BFLOAT16 = /^(bf16|bfloat16)$/

/** @param training whether it is asked for training */
export function parsePrecision(text: string, training = false): Precision {
  const known: readonly string[] = training ? TRAINING_PRECISIONS : PRECISIONS
  if (known.includes(text)) return text as Precision
  if (BFLOAT16.test(text)) {
    throw new UsageError(
      `--precision ${text}: ONNX Runtime has no bfloat16 kernels for what training needs (ConvTranspose, BatchNormalization, MaxPool, Log and others)`,
      { cure: `choose ${inWords(known)}` },
    )
  }
  if (HALF.test(text)) {
    throw new UsageError(
      `--precision ${text}: ${training ? 'its name is float16' : 'float16 is for training'}`,
      {
        cure: training
          ? 'write --precision float16'
          : `choose ${inWords(known)}; a model that was exported in half precision runs in it by itself`,
      },
    )
  }
  throw new UsageError(`--precision: expected ${inWords(known)}, found "${text}"`)
}

/** What a person can write for an engine: `auto, cpu, cuda[:device] or webgpu`. */
export function engineWords(names = ENGINE_NAMES): string {
  return inWords([AUTO, ...names].map(name => (WITH_DEVICES.has(name) ? `${name}[:device]` : name)))
}

/** A list for a comparison, the reference first: `cpu,cuda,webgpu`. */
export function engineList(names = ENGINE_NAMES): string {
  return [CPU, ...names.filter(name => name !== CPU)].join(',')
}

function inWords(words: readonly string[]): string {
  return words.join(', ').replace(/, ([^,]*)$/, ' or $1')
}

/**
 * What `auto` takes: the first accelerated engine that works, else the CPU.
 *
 * @param reports of engines in the order of the table, as far as they were tried
 */
export function autoChoice(reports: readonly EngineReport[]): { name: string; reason: string } {
  const best = reports.find(({ works, accelerated }) => works && accelerated)
  if (best) return { name: best.name, reason: best.found }
  const passed = reports
    .filter(({ name }) => name !== CPU)
    .map(({ name, works, found }) => `${name}: ${works ? 'works, but is not faster' : found}`)
  const why =
    passed.length === 0 ? 'there is no other engine' : `no faster engine works here (${passed.join('; ')})`
  return { name: CPU, reason: why }
}
