/**
 * State in the process between runs and on the device inside a run: each run of the Loop model (ort-cuda/loop-program.ts)
 * makes the steps of a chunk. The state is fed from one of two buffers and fetched into the other, so that it is whole
 * whatever happens to the run.
 *
 * Where memory does not hold a chunk, it is made in halves; where it does not even hold one step inside the Loop, which
 * copies the state it is given, the plain program takes over, with one step a run.
 */

import type * as Ort from 'onnxruntime-node'
import { invariant, messageOf } from '../../util/errors.ts'
import type { Traffic } from '../engine.ts'
import { AlternatingState } from './alternating.ts'
import { ChunkSize } from './chunk-size.ts'
import type { OrtModule } from './load.ts'
import { explainMemory, memoryFailure } from './memory.ts'
import type { LoopPlan, StepPlan, WireFeeds, WireMetrics, WireTensor } from './messages.ts'
import type { Stepper, StepperHost } from './stepper.ts'
import { bindFeeds } from './tensors.ts'

/** Bytes of an element of the state, and of a metric. */
const FLOAT32 = 4

/** Each of the `batches` that it is given is a chunk: the inputs of its steps, stacked along a leading axis. */
export class LoopStepper implements Stepper {
  readonly #ort: OrtModule
  #session: Ort.InferenceSession
  readonly #host: StepperHost
  readonly #plan: StepPlan
  readonly #loop: LoopPlan
  readonly #state: AlternatingState
  readonly #stateBytes: number
  readonly #size = new ChunkSize()
  readonly #notes: string[] = []
  /** The most steps that memory holds; 0: not one inside the Loop. */
  #held = Infinity
  #traffic: Traffic = { steps: 0, runs: 0, batchBytes: 0, stateBytes: 0 }
  /** Of a chunk that was given up in its middle: the state is not one that the caller knows, until it is written anew. */
  #failure: Error | null = null

  constructor(ort: OrtModule, session: Ort.InferenceSession, plan: StepPlan, host: StepperHost) {
    invariant(plan.loop, 'the loop stepper needs the loop part of the plan')
    this.#ort = ort
    this.#session = session
    this.#host = host
    this.#plan = plan
    this.#loop = plan.loop
    this.#state = new AlternatingState(ort, plan.state)
    this.#stateBytes = FLOAT32 * plan.state.reduce((sum, { length }) => sum + length, 0)
  }

  get traffic(): Traffic {
    return this.#traffic
  }

  get chunk(): number {
    return this.#size.chunk
  }

  get notes(): readonly string[] {
    return this.#notes
  }

  write(state: WireFeeds): Promise<void> {
    this.#state.write(state)
    this.#failure = null
    return Promise.resolve()
  }

  read(): Promise<WireFeeds> {
    if (this.#failure) return Promise.reject(this.#failure)
    return Promise.resolve(this.#state.read())
  }

  async steps(chunks: readonly WireFeeds[]): Promise<WireMetrics[]> {
    if (this.#failure) throw this.#failure
    const metrics: WireMetrics[] = []
    try {
      for (const chunk of chunks) metrics.push(...(await this.#chunk(chunk)))
    } catch (error) {
      this.#failure = explainMemory(error, this.#loop.batchSize)
      throw this.#failure
    }
    return metrics
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  /** Makes the steps of a chunk, in as few runs as memory allows. */
  async #chunk(chunk: WireFeeds): Promise<WireMetrics[]> {
    const count = stepsOf(chunk)
    const metrics: WireMetrics[] = []
    this.#size.limitTo(Math.floor(this.#loop.chunkBytes / (bytesOf(chunk) / count)))
    for (let done = 0; done < count;) {
      const size = Math.min(Math.max(1, this.#held), count - done)
      const part = slice(chunk, done, size)
      const made =
        this.#held === 0 ? await this.#run(withoutStepAxis(part), 1) : await this.#looped(part, size)
      if (!made) continue
      metrics.push(...made)
      done += size
    }
    return metrics
  }

  /** One run of the Loop; null where memory did not hold it. */
  async #looped(chunk: WireFeeds, count: number): Promise<WireMetrics[] | null> {
    const steps: WireTensor = { dtype: 'int64', dims: [], data: int64(count) }
    try {
      const began = performance.now()
      const metrics = await this.#run([[this.#loop.tripCount, steps], ...chunk], count)
      this.#size.observe(count, performance.now() - began)
      return metrics
    } catch (error) {
      if (!memoryFailure(messageOf(error))) throw error
      await this.#giveWay(count)
      return null
    }
  }

  async #run(feeds: WireFeeds, count: number): Promise<WireMetrics[]> {
    const { metrics: names } = this.#plan
    const wanted = Object.fromEntries(names.map(name => [name, null]))
    const inputs = { ...this.#state.feeds, ...bindFeeds(this.#ort, feeds) }
    const results = await this.#session.run(inputs, { ...this.#state.fetches, ...wanted })
    this.#state.advance()
    const { steps, runs, batchBytes, stateBytes } = this.#traffic
    this.#traffic = {
      steps: steps + count,
      runs: runs + 1,
      batchBytes: batchBytes + bytesOf(feeds) + FLOAT32 * count * names.length,
      stateBytes: stateBytes + 2 * this.#stateBytes,
    }
    return Array.from({ length: count }, (_, step) =>
      names.map(name => [name, Number((results[name]!.data as ArrayLike<number>)[step])] as const),
    )
  }

  /** Memory did not hold `count` steps: fewer from now on. */
  async #giveWay(count: number): Promise<void> {
    if (count > 1) {
      this.#held = Math.floor(count / 2)
      this.#size.limitTo(this.#held)
      this.#notes.push(
        `memory of the device: a run of ${count} steps did not fit, from now on a run has at most ${this.#held}`,
      )
      return
    }
    this.#held = 0
    this.#size.limitTo(1)
    this.#notes.push(
      'memory of the device: it does not hold the state twice, from now on each step is a run of its own and carries the state both ways',
    )
    this.#session = await this.#host.reopen(this.#loop.plain)
  }
}

function stepsOf(chunk: WireFeeds): number {
  const count = chunk[0]?.[1].dims[0]
  invariant(count !== undefined && count > 0, 'a chunk has no steps')
  return count
}

function bytesOf(feeds: WireFeeds): number {
  return feeds.reduce((sum, [, { data }]) => sum + (data as Uint8Array).byteLength, 0)
}

/** Steps `first` to `first + count` of a chunk, as views. */
function slice(chunk: WireFeeds, first: number, count: number): WireFeeds {
  return chunk.map(([name, { dtype, dims, data }]) => {
    const size = (data as Uint8Array).byteLength / dims[0]!
    const part = (data as Uint8Array).subarray(first * size, (first + count) * size)
    return [name, { dtype, dims: [count, ...dims.slice(1)], data: part }] as const
  })
}

/** A chunk of one step as the inputs of that step. */
function withoutStepAxis(chunk: WireFeeds): WireFeeds {
  return chunk.map(([name, { dtype, dims, data }]) => [name, { dtype, dims: dims.slice(1), data }] as const)
}

function int64(value: number): Uint8Array {
  return new Uint8Array(BigInt64Array.of(BigInt(value)).buffer)
}
