/**
 * Dynamic batching: requests wait until a session is free, and those of one key go through it together. Without a delay a
 * batch is what came in while the session was busy, so an idle server adds no waiting; with one, a session waits so long
 * for a fuller batch.
 */

import { performance } from 'node:perf_hooks'
import { ServeError } from '../protocol/errors.ts'
import { joinInputs, splitOutputs } from './batch.ts'
import { buffers } from './buffers.ts'
import type { Instance } from './instance.ts'
import { Queues } from './queues.ts'
import { runError } from './run-error.ts'
import type { Statistics } from './statistics.ts'
import type { Memory, Work } from './work.ts'

export interface BatchPolicy {
  /** Samples of a run at most; 1: requests never run together. */
  readonly maxBatch: number
  /** So many make a run as good as it gets. */
  readonly goodBatch: number
  /** Milliseconds that a request may wait for others. */
  readonly maxDelay: number
  /** Requests that may wait. */
  readonly maxQueue: number
}

/** Sessions that may end under one request before it is taken for the cause. */
const MOST_CRASHES = 2

/** Beside a run that takes so long, what comes with every run (messages, threads that wake) is little. */
const SHORT_RUN_MS = 20

export class Scheduler {
  readonly #instances: readonly Instance[]
  /** Takes what comes alone. */
  readonly #lone: Instance | null
  readonly #policy: BatchPolicy
  readonly #statistics: Statistics
  /** Every output that the model has as a tensor. */
  readonly #outputs: readonly string[]
  readonly #queues = new Queues()
  #timer: NodeJS.Timeout | null = null
  #soon: NodeJS.Immediate | null = null
  #running = 0
  /** When the runs that go on were begun, of performance.now(). */
  readonly #begun = new Set<number>()
  #batching = true
  /** Milliseconds of one sample and of one run, as of late. */
  #perItem = 0
  #perRun = Infinity
  #idle: (() => void) | null = null

  /** `lone`: a session with more threads, for a request that has the machine for itself; null: there is none. */
  constructor(
    instances: readonly Instance[],
    lone: Instance | null,
    outputs: readonly string[],
    policy: BatchPolicy,
    statistics: Statistics,
  ) {
    this.#instances = instances
    this.#lone = lone
    this.#outputs = outputs
    this.#policy = policy
    this.#statistics = statistics
  }

  /** Requests that wait or run. */
  get pending(): number {
    return this.#queues.requests + this.#running
  }

  /** Milliseconds that the oldest of the runs that go on takes already; 0: none does. */
  get longestRun(): number {
    return this.#begun.size === 0 ? 0 : performance.now() - Math.min(...this.#begun)
  }

  get waiting(): number {
    return this.#queues.requests
  }

  /** Puts a request into its queue, or refuses it where too many wait: either shows in `work.done`. */
  submit(work: Work): void {
    const full = () => this.#queues.requests >= this.#policy.maxQueue
    // What has come in just now does not wait for a session, only for the others that came with it.
    if (full()) this.pump()
    if (full()) {
      const message = `the queue is full: ${this.#queues.requests} requests wait for the model`
      work.reject(new ServeError('unavailable', message, { retryAfter: this.retryAfter() }))
      return
    }
    this.#queues.push(work)
    this.#pumpSoon()
  }

  /** Seconds until the queue is likely to be worked off. */
  retryAfter(): number {
    const ms = (this.#queues.items * this.#perItem) / Math.max(1, this.#instances.length)
    return Math.min(60, Math.max(1, Math.ceil(ms / 1000)))
  }

  /** Resolves when nothing waits or runs. */
  drained(): Promise<void> {
    if (this.pending === 0) return Promise.resolve()
    return new Promise(resolve => {
      this.#idle = resolve
    })
  }

  /** Gives sessions what waits. */
  pump(): void {
    for (let next = this.#next(); next !== null; next = this.#next()) {
      const most = this.#batching ? this.#share(next.key) : 1
      void this.#run(next.instance, this.#queues.take(next.key, most))
    }
    if (this.pending === 0) this.#idle?.()
  }

  /**
   * Samples that make a run full. Messages and waking threads cost a short run as much as a long one, so samples that are
   * cheaper than those that were measured go together in larger numbers.
   */
  get #fullBatch(): number {
    const { maxBatch, goodBatch } = this.#policy
    const short = this.#perItem > 0 ? Math.floor(SHORT_RUN_MS / this.#perItem) : 0
    return Math.min(maxBatch, Math.max(goodBatch, short))
  }

  /** Samples for one run: what waits is for all sessions that are free. */
  #share(key: string): number {
    const free = this.#instances.filter(({ ready, running }) => ready && running === 0).length
    return Math.min(this.#fullBatch, Math.ceil(this.#queues.itemsOf(key) / Math.max(1, free)))
  }

  /** The batch that has waited longest of those that are full or need wait no more, and who runs it. */
  #next(): { readonly key: string; readonly instance: Instance } | null {
    const now = performance.now()
    let best: Work | null = null
    let bestFull = false
    let soonest = Infinity
    for (const head of this.#queues.heads()) {
      const full = this.#queues.itemsOf(head.key) >= this.#fullBatch
      const wait = full ? 0 : head.queued + this.#policy.maxDelay - now
      if (wait > 0) soonest = Math.min(soonest, wait)
      else if (best === null || head.queued < best.queued) {
        best = head
        bestFull = full
      }
    }
    if (soonest < Infinity) this.#pumpIn(soonest)
    const instance = best && this.#free(bestFull)
    return best && instance ? { key: best.key, instance } : null
  }

  /** Fails everything that waits. */
  abandon(error: Error): void {
    for (const work of this.#queues.takeAll()) work.reject(error)
    this.pump()
  }

  /**
   * The session with the least to do. Where runs are short a full batch may stand behind one, so that the session need not
   * wait for us; behind a long one it could neither be taken back nor run elsewhere.
   */
  #free(full: boolean): Instance | undefined {
    const most = full && this.#perRun < SHORT_RUN_MS ? 1 : 0
    let free: Instance | undefined
    for (const instance of this.#candidates()) {
      if (instance.running > most) continue
      if (free === undefined || instance.running < free.running) free = instance
    }
    return free
  }

  /** Sessions that may run what waits. */
  #candidates(): readonly Instance[] {
    const ready = (instance: Instance) => {
      instance.check()
      return instance.ready
    }
    const lone = this.#lone && ready(this.#lone) ? [this.#lone] : []
    const alone = this.#begun.size === 0 && this.#queues.requests === 1
    if (alone && lone.length > 0) return lone
    const others = this.#instances.filter(ready)
    return others.length > 0 ? others : lone
  }

  /** When the requests that came in at one time have all been read. */
  #pumpSoon(): void {
    this.#soon ??= setImmediate(() => {
      this.#soon = null
      this.pump()
    })
  }

  #pumpIn(ms: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = null
      this.pump()
    }, ms)
  }

  async #run(instance: Instance, works: readonly Work[]): Promise<void> {
    if (works.length === 0) return
    this.#running += works.length
    const items = works.reduce((sum, work) => sum + work.items, 0)
    const started = performance.now()
    this.#begun.add(started)
    const lent = lend(works)
    try {
      const feeds = lent ? works[0]!.inputs : joinInputs(works.map(({ inputs }) => inputs))
      const fed = performance.now()
      const results = await instance.run(feeds, this.#wanted(works), lent ?? buffers)
      const computed = performance.now()
      const shares = splitOutputs(
        results,
        works.map(work => work.items),
      )
      const finished = performance.now()
      this.#learn(computed - fed, items)
      this.#statistics.executed(items, fed - started, computed - fed, finished - computed)
      if (shares === null) this.#separately(works)
      else {
        works.forEach((work, i) => {
          work.stages = {
            queue: started - work.queued,
            input: fed - started,
            infer: computed - fed,
            output: finished - computed,
          }
          work.resolve(shares[i]!)
        })
      }
    } catch (error) {
      this.#failed(instance, works, error)
    }
    lent?.release()
    this.#begun.delete(started)
    this.#running -= works.length
    this.#pumpSoon()
  }

  #learn(ms: number, items: number): void {
    this.#perItem = 0.9 * this.#perItem + 0.1 * (ms / Math.max(1, items))
    this.#perRun = this.#perRun === Infinity ? ms : 0.9 * this.#perRun + 0.1 * ms
  }

  /** The outputs that any of them wants. */
  #wanted(works: readonly Work[]): readonly string[] {
    if (works.some(({ outputs }) => outputs === null)) return this.#outputs
    const wanted = new Set(works.flatMap(({ outputs }) => outputs!))
    return this.#outputs.filter(name => wanted.has(name))
  }

  /** A model whose outputs do not count samples after all: never again together. */
  #separately(works: readonly Work[]): void {
    this.#batching = false
    for (const work of works) this.#again(work)
  }

  #failed(instance: Instance, works: readonly Work[], error: unknown): void {
    if (!instance.ready) {
      // The request need not be the cause: others were in the same session.
      for (const work of works) {
        if (!work.intact)
          work.reject(new ServeError('unavailable', LOST, { retryAfter: 1, reason: 'BACKEND' }))
        else if (++work.crashes < MOST_CRASHES) this.#again(work)
        else
          work.reject(new ServeError('internal', 'the model ended under this request', { reason: 'BACKEND' }))
      }
    } else if (works.length > 1) {
      // One of them is wrong; each alone shows which.
      for (const work of works) this.#alone(work)
    } else works[0]!.reject(runError(error))
  }

  #again(work: Work): void {
    if (!work.settled) this.#queues.push(work, true)
  }

  /** Back into the queue, under a key of its own. */
  #alone(work: Work): void {
    if (work.settled) return
    work.key = `${work.key}#${alones++}`
    this.#queues.push(work, true)
  }
}

/** The memory of a request that runs alone, for the run; null: it needs a copy. */
function lend([work, ...others]: readonly Work[]): Memory | null {
  if (others.length > 0 || !work?.memory) return null
  // A request that has timed out meanwhile must not take it away from under the run.
  work.memory.retain()
  return work.memory
}

const LOST = 'the session that had this request has ended'

/** Requests that were given a key of their own. */
let alones = 0
