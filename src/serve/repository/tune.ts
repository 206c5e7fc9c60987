/**
 * How a model is best run on this machine's CPU: how many samples share a run, and whether one session with all threads
 * or several with fewer gives more. Both are measured, in up to about a second, when a model is loaded for the first
 * time.
 */

import { availableParallelism } from 'node:os'
import { performance } from 'node:perf_hooks'
import type { Feeds, Runner } from '../../runtime/engine.ts'
import { joinInputs } from '../execution/batch.ts'
import { buffers } from '../execution/buffers.ts'
import type { Sessions } from './sessions.ts'
import type { ModelSettings } from './settings.ts'

export interface Tuning {
  /** Samples of a run at most. */
  readonly maxBatch: number
  /** So many make a run as good as it gets. */
  readonly goodBatch: number
  /** Sessions beside the lone one. */
  readonly instances: number
  readonly threads: number
  /** Whether one more session, with all threads, takes requests that have the machine for themselves. */
  readonly lone: boolean
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
  /** Bytes of the weights, which each session has for itself. */
  readonly weights: number
}

const BATCHES = [1, 2, 4, 8, 16, 32]
const LARGEST_BATCH = BATCHES.at(-1)!
/** Milliseconds of measuring for each size, each time. */
const BUDGET_MS = 40
/** Runs after which more say nothing new, however short they are. */
const ENOUGH_RUNS = 60
/** Every size is measured so often, in turn, and the best time counts: something else may be busy meanwhile. */
const PASSES = 3
/** A run should not take longer: those that come meanwhile wait for it. */
const LONGEST_RUN_MS = 250
/** Milliseconds that a run costs beside the model: messages, threads that wake, answers. */
const RUN_OVERHEAD_MS = 0.2
/** Less than this is not worth waiting for. */
const GAIN = 1.05
/**
 * Several sessions may be so much slower here, where nothing else runs: under load one session's threads wait for each
 * other whenever the HTTP side takes a core from one of them.
 */
const SEVERAL_SHARE = 0.7
/** By which all threads must be faster for a single sample, to have a session of their own. */
const LONE_GAIN = 1.3
/** Sessions that share the cores at most. */
const MOST_SESSIONS = 4
/** Share of the memory that is left which the weights of all sessions may take. */
const WEIGHTS_SHARE = 1 / 4

/** Measures what is not set; the sessions that are to be used are open afterwards, `first` among them or closed. */
export async function tune(sessions: Sessions, first: Runner, options: TuneOptions): Promise<Tuning> {
  const { settings, batched, sample, onCpu, weights } = options
  const maxBatch = batched ? (settings.maxBatch ?? LARGEST_BATCH) : 1
  const cores = availableParallelism()
  const instances = Math.min(cores, MOST_SESSIONS)
  const threads = Math.floor(cores / instances)
  const open = settings.instances === null && settings.threads === null && onCpu && cores > 1
  if (sample && open && weights * (instances + 1) < process.availableMemory() * WEIGHTS_SHARE) {
    const several: Runner[] = []
    for (let i = 0; i < instances; i++) several.push(await sessions.open(threads))
    const measure = new Measure(sample, options)
    const goodBatch = await measure.goodBatch(several)
    if (await measure.compare(several, [first], goodBatch, SEVERAL_SHARE)) {
      const lone = await measure.compare([first], several.slice(0, 1), 1, LONE_GAIN)
      if (!lone) await sessions.close(first)
      return { maxBatch, goodBatch, instances, threads, lone }
    }
    for (const unused of several) await sessions.close(unused)
  }
  return {
    maxBatch,
    goodBatch: sample ? await new Measure(sample, options).goodBatch([first]) : 1,
    ...{ instances: settings.instances ?? 1, threads: settings.threads ?? cores },
    lone: false,
  }
}

class Measure {
  readonly #sample: Feeds
  readonly #options: TuneOptions

  constructor(sample: Feeds, options: TuneOptions) {
    this.#sample = sample
    this.#options = options
  }

  /** Samples that share a run best. */
  async goodBatch(runners: readonly Runner[]): Promise<number> {
    const { settings, batched } = this.#options
    if (!batched) return 1
    return settings.maxBatch ?? bestBatch(await this.#rates(runners))
  }

  /** Whether the one sessions compute more than `factor` times the samples of the others, with so many in a run. */
  async compare(
    ones: readonly Runner[],
    others: readonly Runner[],
    size: number,
    factor: number,
  ): Promise<boolean> {
    let [one, other] = [0, 0]
    for (let pass = 0; pass < PASSES; pass++) {
      one = Math.max(one, (await this.#measure(ones, size)).rate)
      other = Math.max(other, (await this.#measure(others, size)).rate)
    }
    return one > other * factor
  }

  /** Samples a second with each size of batch. */
  async #rates(runners: readonly Runner[]): Promise<Map<number, number>> {
    const rates = new Map<number, number>()
    let sizes = BATCHES
    for (let pass = 0; pass < PASSES; pass++) {
      for (const size of sizes) {
        const { rate, ms } = await this.#measure(runners, size)
        rates.set(size, Math.max(rates.get(size) ?? 0, rate))
        if (ms > LONGEST_RUN_MS) {
          sizes = sizes.filter(other => other <= size)
          break
        }
      }
    }
    return rates
  }

  /** Samples a second of sessions that run at once, and the milliseconds of their longest runs. */
  async #measure(runners: readonly Runner[], size: number): Promise<{ rate: number; ms: number }> {
    const { outputs } = this.#options
    const batch = Array.from({ length: size }, () => this.#sample)
    const times = await Promise.all(
      runners.map(runner => medianTime(() => runner.run(joinInputs(batch), outputs, buffers))),
    )
    return {
      rate: times.reduce((sum, ms) => sum + (size / (ms + RUN_OVERHEAD_MS)) * 1000, 0),
      ms: Math.max(...times),
    }
  }
}

/** The smallest size beyond which samples get hardly cheaper. */
export function bestBatch(rates: ReadonlyMap<number, number>): number {
  const best = Math.max(...rates.values())
  for (const [size, rate] of rates) if (rate * GAIN >= best) return size
  return 1
}

/** The median milliseconds of a run, after one that warms up. */
async function medianTime(run: () => Promise<unknown>): Promise<number> {
  await run()
  const times: number[] = []
  const end = performance.now() + BUDGET_MS
  do {
    const started = performance.now()
    await run()
    times.push(performance.now() - started)
  } while ((performance.now() < end && times.length < ENOUGH_RUNS) || times.length < 2)
  return times.sort((a, b) => a - b)[times.length >> 1]!
}
