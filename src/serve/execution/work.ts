/** One request on its way through a model: what it brings, when it is too late, and whom to tell. */

import { performance } from 'node:perf_hooks'
import type { Feeds, Lender } from '../../runtime/engine.ts'
import type { DType } from '../../tensor/dtype.ts'
import type { Tensor } from '../../tensor/tensor.ts'
import { ServeError } from '../protocol/errors.ts'

export type Results = ReadonlyMap<string, Tensor>

/** What a request's tensors lie in: a run may have it for itself instead of a copy. */
export interface Memory extends Lender {
  /** Empty while it is lent, and for ever where the thread that had it has ended. */
  readonly buffer: ArrayBufferLike
  /** Keeps it for one more `release`. */
  retain(): void
  release(): void
}

/** Less is copied: that is as fast, and a copy outlives the thread that has it. */
const LEAST_LENT = 1 << 16

export interface WorkOptions {
  /** Outputs that are wanted; null: all. */
  readonly outputs: readonly string[] | null
  /** Milliseconds after which the answer is of no use. */
  readonly timeout: number
  /** May be lent: nobody else looks at the inputs any more. */
  readonly memory?: Memory | undefined
}

/** Milliseconds of a request's stages, known when it is done. */
export interface Stages {
  readonly queue: number
  readonly input: number
  readonly infer: number
  readonly output: number
}

export class Work {
  readonly inputs: Feeds
  /** That all of the inputs lie in, where it may be lent. */
  readonly memory: Memory | null
  readonly outputs: readonly string[] | null
  /** Samples in it: the size of the first dimension where the model takes batches, else 1. */
  readonly items: number
  /** Requests of one key may run together. */
  key: string
  readonly queued = performance.now()
  readonly done: Promise<Results>
  stages: Stages | null = null
  /** Workers that ended while they had it. */
  crashes = 0
  #resolve!: (results: Results) => void
  #reject!: (error: Error) => void
  #settled = false
  #timer: NodeJS.Timeout | null = null
  /** Called once, when it needs no answer any more. */
  onSettled: (() => void) | null = null

  constructor(inputs: Feeds, items: number, key: string, { outputs, timeout, memory }: WorkOptions) {
    this.inputs = inputs
    this.memory = memory && isLendable(inputs, memory) ? memory : null
    this.items = items
    this.key = key
    this.outputs = outputs
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    if (Number.isFinite(timeout)) this.#timer = setTimeout(this.#expire, timeout, timeout)
  }

  /** Whether its inputs are still there. */
  get intact(): boolean {
    return this.memory === null || this.memory.buffer.byteLength > 0
  }

  /** Whether it was answered, too late or left alone. */
  get settled(): boolean {
    return this.#settled
  }

  resolve(results: Results): void {
    if (this.#settle()) this.#resolve(results)
  }

  reject(error: Error): void {
    if (this.#settle()) this.#reject(error)
  }

  /** The client has gone: nobody wants the answer. */
  cancel = (): void => {
    if (this.#settled) return
    this.reject(new ServeError('invalid', 'the client has gone', { reason: 'CANCELED' }))
  }

  #expire = (timeout: number): void => {
    this.reject(
      new ServeError('unavailable', `the request timed out after ${Math.round(timeout)} ms`, {
        retryAfter: 1,
      }),
    )
  }

  #settle(): boolean {
    if (this.#settled) return false
    this.#settled = true
    if (this.#timer) clearTimeout(this.#timer)
    this.onSettled?.()
    return true
  }
}

function isLendable(inputs: Feeds, { buffer }: Memory): boolean {
  if (buffer.byteLength < LEAST_LENT) return false
  for (const { dtype, data } of inputs.values()) {
    if (!COPIED.has(dtype) && (data as Uint8Array).buffer === buffer) continue
    return false
  }
  return true
}

/** What becomes something else on its way into a session. */
const COPIED: ReadonlySet<DType> = new Set(['string', 'bfloat16'])
