/**
 * A run on disk. Every file appears whole or not at all; what resume needs is one state generation, whose manifest is
 * written last. Two generations are kept, so that a damaged one falls back to the one before.
 */

import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, truncate } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Metrics } from '../eval/metrics.ts'
import type { Traffic } from '../runtime/engine.ts'
import { openSafetensors, writeSafetensors } from '../serde/index.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { InputError, UsageError } from '../util/errors.ts'
import { sha256File, sweepTemporaryFiles, writeError, writeFileAtomic } from '../util/files.ts'
import { lockFolder } from '../util/lock.ts'
import type { Patience } from './patience.ts'

/** Names inside a run folder. */
export class RunFolder {
  readonly path: string
  constructor(path: string) {
    this.path = path
  }

  get config(): string {
    return join(this.path, 'config.json')
  }
  get metrics(): string {
    return join(this.path, 'metrics.jsonl')
  }
  get average(): string {
    return join(this.path, 'average.safetensors')
  }
  /** The average so far as a model, while the run goes on. */
  get current(): string {
    return join(this.path, 'current.onnx')
  }
  get manifest(): string {
    return join(this.path, 'manifest.json')
  }
  get snapshots(): string {
    return join(this.path, 'snapshots')
  }
  get state(): string {
    return join(this.path, 'state')
  }
  file(name: string): string {
    return join(this.path, name)
  }
  snapshot(step: number): string {
    return join(this.snapshots, `step-${step}.safetensors`)
  }
}

/** What resume needs beside tensors; JSON. */
export interface Progress {
  /** Optimizer steps done. */
  readonly step: number
  /** Batches done; with accumulation, those of an unfinished step among them. Names the saved state. */
  readonly batches: number
  /** Bytes of metrics.jsonl that belong to these steps: what a killed run wrote behind them is cut off. */
  readonly metricsBytes: number
  /** Steps at which snapshots were taken. */
  readonly snapshots: readonly number[]
  /** The model before training, the best snapshot so far and the last weights, where they were validated. */
  readonly start: Metrics | null
  readonly best: { readonly step: number; readonly metrics: Metrics } | null
  readonly last: Metrics | null
  /** What crossed to the engine's device and back in these steps. */
  readonly traffic: Traffic
  /** Whether the step is a stop whose work (log, validation, snapshot) was interrupted: resuming begins with it. */
  readonly unfinished: boolean
  /** Sums over the unfinished reporting interval: of losses over batches, of gradient norms over optimizer steps. */
  readonly pending: Pending
  /** Validations without improvement, where early stopping watches them. */
  readonly patience: Patience
  /** The step at which early stopping brought the SWA phase forward; null where it did not. */
  readonly swaStart: number | null
}

export interface Pending {
  readonly loss: number
  readonly batches: number
  readonly gradNorm: number
  readonly steps: number
}

interface StateManifest {
  readonly progress: Progress
  /** File name -> SHA-256. */
  readonly files: Readonly<Record<string, string>>
}

const GENERATION = /^manifest-(\d+)\.json$/

export interface OpenedRun {
  /** Whether there was a run already. */
  readonly resumed: boolean
  /** Lets others work in the folder. */
  readonly release: () => Promise<void>
}

/**
 * Makes a run folder, or opens one for resuming; nobody else may work in it until it is released.
 *
 * @param config the resolved plan; a folder in which another one was trained is refused, with the difference shown
 * @param ignored entries of the plan that say where things lie, not what they are: `model.path`
 */
export async function openRunFolder(
  run: RunFolder,
  config: unknown,
  ignored: readonly string[] = [],
): Promise<OpenedRun> {
  try {
    await mkdir(run.snapshots, { recursive: true })
    await mkdir(run.state, { recursive: true })
  } catch (error) {
    throw writeError(run.path, error)
  }
  const release = await lockFolder(run.path)
  try {
    for (const folder of [run.path, run.snapshots, run.state]) await sweepTemporaryFiles(folder)
    return { resumed: await openConfig(run, `${JSON.stringify(config, null, 2)}\n`, ignored), release }
  } catch (error) {
    await release()
    throw error
  }
}

/** Writes config.json, or compares with what is there; returns whether it was there. */
async function openConfig(run: RunFolder, text: string, ignored: readonly string[]): Promise<boolean> {
  if (existsSync(run.config)) {
    const known = parseJson(await readFile(run.config, 'utf8'), run.config)
    const differences = differencesOf(known, JSON.parse(text), '').filter(
      difference => !ignored.some(path => difference.startsWith(path)),
    )
    if (differences.length === 0) return true
    // A command that failed before its first step leaves its plan behind, but no run.
    if (!(await isEmpty(run))) {
      throw new UsageError(
        `run ${run.path}: the folder holds a run with another plan: ${differences.join('; ')}`,
        {
          cure: `give the options of that run${engineOf(known, differences)} to resume it, or another --run folder to start anew`,
        },
      )
    }
  }
  await writeFileAtomic(run.config, text)
  return false
}

/** Another engine is often what `auto` found today, not what was asked for: the one of the run is named. */
function engineOf(known: unknown, differences: readonly string[]): string {
  const { engine } = known as { engine?: { name?: string } }
  if (!engine?.name || !differences.some(difference => difference.startsWith('engine.'))) return ''
  return `, --engine ${engine.name},`
}

/** Whether nothing was trained in the folder. */
async function isEmpty(run: RunFolder): Promise<boolean> {
  const files = [...(await readdir(run.state)), ...(await readdir(run.snapshots))]
  return files.length === 0 && !existsSync(run.manifest)
}

/** `path: was X, now Y` for each leaf in which two JSON values differ. */
export function differencesOf(was: unknown, now: unknown, path: string): string[] {
  const isObject = (value: unknown): value is Record<string, unknown> =>
    typeof value === 'object' && value !== null
  if (isObject(was) && isObject(now) && Array.isArray(was) === Array.isArray(now)) {
    const keys = [...new Set([...Object.keys(was), ...Object.keys(now)])]
    return keys.flatMap(key => differencesOf(was[key], now[key], path ? `${path}.${key}` : key))
  }
  if (Object.is(was, now)) return []
  const show = (value: unknown) => (value === undefined ? 'absent' : JSON.stringify(value))
  return [`${path}: was ${show(was)}, now ${show(now)}`]
}

/** Writes a state generation: tensors first, the manifest last; then removes all but the newest two. */
export async function saveState(
  run: RunFolder,
  progress: Progress,
  tensors: ReadonlyMap<string, Tensor>,
  writeMore: readonly { readonly name: string; readonly write: (path: string) => Promise<void> }[],
): Promise<void> {
  const { batches } = progress
  const writers = [
    { name: 'tensors', write: (path: string) => writeSafetensors(path, tensors) },
    ...writeMore,
  ]
  const files: Record<string, string> = {}
  for (const { name, write } of writers) {
    const path = join(run.state, `${name}-${batches}.safetensors`)
    await write(path)
    files[basename(path)] = await sha256File(path)
  }
  const manifest: StateManifest = { progress, files }
  await writeFileAtomic(join(run.state, `manifest-${batches}.json`), `${JSON.stringify(manifest, null, 2)}\n`)
  const generations = await listGenerations(run)
  for (const old of generations.slice(2)) await removeGeneration(run, old)
}

export interface SavedState {
  readonly progress: Progress
  readonly tensors: Map<string, Tensor>
  /** Newer files that are damaged or missing, so that an older generation was taken. */
  readonly damaged: readonly string[]
  /** Path of a file written by `writeMore`. */
  path(name: string): string
}

/** Loads the newest state generation that verifies; null when there is none. */
export async function loadState(run: RunFolder): Promise<SavedState | null> {
  const damaged: string[] = []
  for (const batches of await listGenerations(run)) {
    const name = `manifest-${batches}.json`
    const manifest = parseManifest(await readFile(join(run.state, name), 'utf8'), batches)
    if (manifest === null) {
      damaged.push(name)
      continue
    }
    const wrong = await damagedFiles(run, manifest)
    if (wrong.length > 0) {
      damaged.push(...wrong)
      continue
    }
    return {
      progress: manifest.progress,
      tensors: await readAll(join(run.state, `tensors-${batches}.safetensors`)),
      damaged,
      path: name => join(run.state, `${name}-${batches}.safetensors`),
    }
  }
  const lost = damaged.length > 0 ? `damaged: ${damaged.join(', ')}` : await missingState(run)
  if (lost) {
    throw new InputError(`run ${run.path}: the saved state is ${lost}`, {
      cure: 'start anew in another --run folder; the snapshots in this one can still be averaged',
    })
  }
  return null
}

/** What speaks of a state where none is left; null in a folder without a run. A first snapshot comes before its state. */
async function missingState(run: RunFolder): Promise<string | null> {
  const snapshots = (await readdir(run.snapshots)).length
  if (snapshots < 2 && !existsSync(run.manifest)) return null
  return `missing, ${run.snapshots} holds ${snapshots} snapshots`
}

async function damagedFiles(run: RunFolder, manifest: StateManifest): Promise<string[]> {
  const wrong: string[] = []
  for (const [name, hash] of Object.entries(manifest.files)) {
    const path = join(run.state, name)
    if (!existsSync(path) || (await sha256File(path)) !== hash) wrong.push(name)
  }
  return wrong
}

/** The manifest of a generation; null if it is none. */
function parseManifest(text: string, batches: number): StateManifest | null {
  try {
    const manifest = JSON.parse(text) as Partial<StateManifest> | null
    const { progress, files } = manifest ?? {}
    const whole = progress?.batches === batches && files?.[`tensors-${batches}.safetensors`] !== undefined
    return whole ? { progress, files } : null
  } catch {
    return null
  }
}

/** Removes what a killed run left behind its last saved state: later snapshots and lines of the metrics log. */
export async function rewind(run: RunFolder, progress: Progress): Promise<void> {
  const keep = new Set(progress.snapshots.map(step => basename(run.snapshot(step))))
  for (const name of await readdir(run.snapshots)) if (!keep.has(name)) await rm(join(run.snapshots, name))
  if (existsSync(run.metrics)) await truncate(run.metrics, progress.metricsBytes)
}

/** All tensors of a safetensors file, in memory. */
export async function readAll(path: string): Promise<Map<string, Tensor>> {
  const file = await openSafetensors(path)
  try {
    const loaded = new Map<string, Tensor>()
    for (const [name, tensor] of file.tensors) loaded.set(name, await tensor.load())
    return loaded
  } finally {
    await file.close()
  }
}

/** Batches before the state generations, newest first. */
async function listGenerations(run: RunFolder): Promise<number[]> {
  const found = (await readdir(run.state)).flatMap(name => GENERATION.exec(name)?.[1] ?? [])
  return found.map(Number).sort((a, b) => b - a)
}

async function removeGeneration(run: RunFolder, batches: number): Promise<void> {
  // The manifest goes first: a generation without one does not exist.
  await rm(join(run.state, `manifest-${batches}.json`), { force: true })
  for (const name of await readdir(run.state)) {
    if (name.endsWith(`-${batches}.safetensors`)) await rm(join(run.state, name), { force: true })
  }
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new InputError(`${where}: not valid JSON`, { cause: error })
  }
}
