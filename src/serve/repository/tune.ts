/**
 * How a model is best run on this machine's CPU: how many samples share a run, and whether one session with all threads
 * or several with fewer gives more. Both are measured, in about a second, when a model is loaded for the first time.
 */

import { availableParallelism } from 'node:os'
import { performance } from 'node:perf_hooks'
import type { Feeds, Runner } from '../../runtime/engine.ts'
import { joinInputs } from '../execution/batch.ts'
import { buffers } from '../execution/buffers.ts'
import type { Sessions } from './sessions.ts'
import type { ModelSettings } from './settings.ts'

export interface Tuning {
  readonly maxBatch: number
  readonly instances: number
  readonly threads: number
}

export interface TuneOptions {
  readonly settings: ModelSettings
  /** Whether samples can share a run. */
  readonly batched: boolean
  /** One sample; null where none is known, and nothing can be measured. */
  readonly sample: Feeds | null
  readonly outputs: readonly string[]
  /** Whether several sessions have cores of their own; on a device they share it. */
  readonly onCpu: boolean
}

const BATCHES = [1, 2, 4, 8, 16, 32]
/** Milliseconds of measuring for each size, each time. */
const BUDGET_MS = 40
/** Every size is measured so often, in turn, and the best time counts: something else may be busy meanwhile. */
const PASSES = 2
/** A run should not take longer: those that come meanwhile wait for it. */
const LONGEST_RUN_MS = 250
/** Less than this is not worth waiting for. */
const GAIN = 1.05
/** By which several sessions must be better: each has the weights and the memory of its own. */
const INSTANCE_GAIN = 1.15
/** Sessions that are tried at most, for the same reason. */
const MOST_SESSIONS = 4

/** Measures what is not set; the sessions that are to be used are open afterwards, `first` among them or closed. */
export async function tune(sessions: Sessions, first: Runner, options: TuneOptions): Promise<Tuning> {
  const { settings, batched, sample, outputs, onCpu } = options
  const cores = availableParallelism()
  const most = batched ? (settings.maxBatch ?? BATCHES.at(-1)!) : 1
  const rates = sample ? await measureBatches(first, outputs, sample, most) : new Map<number, number>()
  const maxBatch = batched ? (settings.maxBatch ?? bestBatch(rates)) : 1
  const one = { maxBatch, instances: settings.instances ?? 1, threads: settings.threads ?? cores }
  const open = settings.instances === null && settings.threads === null && onCpu && cores > 1
  if (!open || !sample) return one
  const instances = Math.min(cores, MOST_SESSIONS)
  const threads = Math.floor(cores / instances)
  const several: Runner[] = []
  for (let i = 0; i < instances; i++) several.push(await sessions.open(threads))
  const size = Math.max(...[...rates.keys()].filter(size => size <= maxBatch))
  let [together, alone] = [0, rates.get(size)!]
  for (let pass = 0; pass < PASSES; pass++) {
    together = Math.max(together, await measureTogether(several, outputs, sample, size))
    alone = Math.max(alone, await measureTogether([first], outputs, sample, size))
  }
  const better = together > alone * INSTANCE_GAIN
  for (const unused of better ? [first] : several) await sessions.close(unused)
  return better ? { maxBatch, instances, threads } : one
}

/** Samples a second of each size of batch. */
async function measureBatches(
  runner: Runner,
  outputs: readonly string[],
  sample: Feeds,
  most: number,
): Promise<Map<number, number>> {
  const rates = new Map<number, number>()
  let sizes = BATCHES.filter(size => size <= most)
  for (let pass = 0; pass < PASSES; pass++) {
    for (const size of sizes) {
      const batch = Array.from({ length: size }, () => sample)
      const ms = await measureRun(() => runner.run(joinInputs(batch), outputs, buffers))
      rates.set(size, Math.max(rates.get(size) ?? 0, (size / ms) * 1000))
      if (ms > LONGEST_RUN_MS) {
        sizes = sizes.filter(other => other <= size)
        break
      }
    }
  }
  return rates
}

/** The smallest size beyond which samples get hardly cheaper. */
export function bestBatch(rates: ReadonlyMap<number, number>): number {
  const best = Math.max(...rates.values())
  for (const [size, rate] of rates) if (rate * GAIN >= best) return size
  return 1
}

/** Samples a second of several sessions at once. */
async function measureTogether(
  runners: readonly Runner[],
  outputs: readonly string[],
  sample: Feeds,
  size: number,
): Promise<number> {
  const batch = Array.from({ length: size }, () => sample)
  const rates = await Promise.all(
    runners.map(async runner => {
      const ms = await measureRun(() => runner.run(joinInputs(batch), outputs, buffers))
      return (size / ms) * 1000
    }),
  )
  return rates.reduce((sum, rate) => sum + rate, 0)
}

/** The median milliseconds of a run, after one that warms up. */
async function measureRun(run: () => Promise<unknown>): Promise<number> {
  await run()
  const times: number[] = []
  const end = performance.now() + BUDGET_MS
  do {
    const started = performance.now()
    await run()
    times.push(performance.now() - started)
  } while (performance.now() < end || times.length < 2)
  return times.sort((a, b) => a - b)[times.length >> 1]!
}
