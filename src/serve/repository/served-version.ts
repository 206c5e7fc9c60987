/** One version of a model that takes requests: its sessions, its queue, its figures. */

import { performance } from 'node:perf_hooks'
import type { Feeds } from '../../runtime/engine.ts'
import { batchKey, itemsOf } from '../execution/batch.ts'
import type { Instance } from '../execution/instance.ts'
import type { Scheduler } from '../execution/scheduler.ts'
import type { Statistics } from '../execution/statistics.ts'
import { Work, type Memory, type Results } from '../execution/work.ts'
import { ServeError } from '../protocol/errors.ts'
import type { Answerer } from '../protocol/response.ts'
import { HeaderReader } from '../protocol/request-header.ts'
import type { Signature } from '../protocol/signature.ts'
import type { ModelSettings } from './settings.ts'
import type { Tuning } from './tune.ts'
import type { VersionSource } from './sources.ts'

/** What is known of a version once it is loaded. */
export interface VersionFacts {
  readonly name: string
  readonly source: VersionSource
  readonly signature: Signature
  readonly labels: readonly string[] | null
  /** Files beside the model that its weights are in. */
  readonly dataFiles: readonly string[]
  /** Whether requests share runs; the first dimension then counts samples. */
  readonly batched: boolean
  /** Settings with everything measured. */
  readonly settings: Omit<ModelSettings, keyof Tuning> & Tuning
  /** One sample that it ran on. */
  readonly probe: { readonly feeds: Feeds | null; readonly finite: boolean; readonly note: string | null }
  /** Bytes of its file and of the process more after it was loaded. */
  readonly memory: { readonly file: number; readonly process: number }
}

export interface InferOptions {
  /** Outputs that are wanted; null: all. */
  readonly outputs: readonly string[] | null
  /** Milliseconds that the client gives it; null: as long as the server does. */
  readonly timeout: number | null
  /** When it came in, of performance.now(). */
  readonly started: number
  /** What the inputs lie in, where nobody needs them any more. */
  readonly memory?: Memory | undefined
  readonly onQueued?: (work: Work) => void
}

/** Keys of requests that share their run with no other. */
let alone = 0

export class ServedVersion implements Answerer {
  readonly facts: VersionFacts
  readonly instances: readonly Instance[]
  readonly scheduler: Scheduler
  readonly statistics: Statistics
  readonly headers: HeaderReader
  /** Milliseconds since 1970. */
  readonly loaded = Date.now()
  #retired = false

  constructor(
    facts: VersionFacts,
    instances: readonly Instance[],
    scheduler: Scheduler,
    statistics: Statistics,
  ) {
    this.facts = facts
    this.headers = new HeaderReader(facts.signature)
    this.instances = instances
    this.scheduler = scheduler
    this.statistics = statistics
  }

  get name(): string {
    return this.facts.name
  }
  get version(): string {
    return this.facts.source.version
  }
  get batched(): boolean {
    return this.facts.batched
  }
  get labels(): readonly string[] | null {
    return this.facts.labels
  }
  get signature(): Signature {
    return this.facts.signature
  }
  /** Whether a session is there to run requests. */
  get ready(): boolean {
    return !this.#retired && this.instances.some(({ ready }) => ready)
  }

  /** Runs a request; counts it, whatever comes of it. `onQueued` gets it when it waits, to take it back. */
  async infer(
    inputs: Feeds,
    { outputs, timeout, started, memory, onQueued }: InferOptions,
  ): Promise<Results> {
    const items = this.batched ? itemsOf(inputs) : null
    const work = new Work(inputs, items ?? 1, this.#keyOf(inputs, items), {
      ...{ outputs, memory },
      timeout: Math.min(timeout ?? Infinity, this.facts.settings.timeout),
    })
    try {
      this.scheduler.submit(work)
      onQueued?.(work)
      const results = await work.done
      this.statistics.succeeded(started, work.items, work.stages)
      return results
    } catch (error) {
      this.statistics.failed(started, error instanceof ServeError ? error.reason : 'OTHER')
      throw error
    }
  }

  /** Runs the sample that it was tried with, uncounted; fails where that fails or takes longer than `ms`. */
  async test(ms: number): Promise<void> {
    const { feeds } = this.facts.probe
    if (!this.ready) throw new Error('no session is open')
    if (feeds === null) return
    const work = new Work(feeds, 1, `#${alone++}`, { outputs: null, timeout: ms })
    this.scheduler.submit(work)
    await work.done
  }

  /** Counts a request that was refused before it came to the queue. */
  refused(started = performance.now()): void {
    this.statistics.failed(started, 'OTHER')
  }

  /** Waits for what it has taken, then gives its sessions back; requests that are left after `ms` fail. */
  async retire(ms: number): Promise<void> {
    const drained = this.scheduler.drained()
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>(resolve => {
      timer = setTimeout(resolve, ms)
    })
    await Promise.race([drained, late])
    clearTimeout(timer)
    this.#retired = true
    this.scheduler.abandon(
      new ServeError('unavailable', `version ${this.version} of the model is being unloaded`, {
        retryAfter: 1,
      }),
    )
    await Promise.all(this.instances.map(instance => instance.close()))
  }

  #keyOf(inputs: Feeds, items: number | null): string {
    if (!this.batched) return ''
    // An empty batch, or inputs that do not agree on its size.
    return items ? batchKey(inputs) : `#${alone++}`
  }
}
