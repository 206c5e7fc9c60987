/** What a version of a model did: counters for Triton's statistics and metrics, and who wants to hear of each event. */

import { performance } from 'node:perf_hooks'
import type { FailureReason } from '../protocol/errors.ts'
import type { ModelStatistics } from '../protocol/schemas.ts'
import type { Stages } from './work.ts'

/** Events and the milliseconds that they took together. */
export class Duration {
  count = 0
  ms = 0

  add(ms: number, count = 1): void {
    this.count += count
    this.ms += ms
  }

  toJSON(): { count: number; ns: number } {
    return { count: this.count, ns: Math.round(this.ms * 1e6) }
  }
}

interface BatchStages {
  readonly input: Duration
  readonly infer: Duration
  readonly output: Duration
}

/** Listeners, for histograms. */
export interface StatisticsEvents {
  readonly request: (seconds: number) => void
  readonly batch: (items: number) => void
}

export class Statistics {
  readonly success = new Duration()
  readonly fail = new Duration()
  readonly queue = new Duration()
  readonly input = new Duration()
  readonly infer = new Duration()
  readonly output = new Duration()
  readonly failures: Record<FailureReason, number> = { REJECTED: 0, CANCELED: 0, BACKEND: 0, OTHER: 0 }
  readonly batches = new Map<number, BatchStages>()
  items = 0
  executions = 0
  /** Milliseconds since 1970. */
  last = 0
  readonly #events: StatisticsEvents

  constructor(events: StatisticsEvents) {
    this.#events = events
  }

  /** A request that was answered with results, `started` at performance.now(). */
  succeeded(started: number, items: number, stages: Stages | null): void {
    const ms = performance.now() - started
    this.success.add(ms)
    this.items += items
    this.last = Date.now()
    if (stages) {
      this.queue.add(stages.queue)
      this.input.add(stages.input)
      this.infer.add(stages.infer)
      this.output.add(stages.output)
    }
    this.#events.request(ms / 1000)
  }

  failed(started: number, reason: FailureReason): void {
    this.fail.add(performance.now() - started)
    this.failures[reason]++
  }

  executed(items: number, input: number, infer: number, output: number): void {
    this.executions++
    let batch = this.batches.get(items)
    if (batch === undefined) {
      batch = { input: new Duration(), infer: new Duration(), output: new Duration() }
      this.batches.set(items, batch)
    }
    batch.input.add(input)
    batch.infer.add(infer)
    batch.output.add(output)
    this.#events.batch(items)
  }

  report(name: string, version: string): ModelStatistics {
    const none = new Duration().toJSON()
    return {
      name,
      version,
      last_inference: this.last,
      inference_count: this.items,
      execution_count: this.executions,
      inference_stats: {
        success: this.success.toJSON(),
        fail: this.fail.toJSON(),
        queue: this.queue.toJSON(),
        compute_input: this.input.toJSON(),
        compute_infer: this.infer.toJSON(),
        compute_output: this.output.toJSON(),
        cache_hit: none,
        cache_miss: none,
      },
      batch_stats: [...this.batches]
        .sort(([a], [b]) => a - b)
        .map(([size, { input, infer, output }]) => ({
          batch_size: size,
          compute_input: input.toJSON(),
          compute_infer: infer.toJSON(),
          compute_output: output.toJSON(),
        })),
    }
  }
}
