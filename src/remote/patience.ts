/** How long an answer is waited for. */

import { TransientError } from './retry.ts'

/** Below this rate, in bytes per millisecond, a line counts as broken. */
const SLOWEST = 64

/** Ends an attempt that nothing comes of: by its signal, from which everything that it has open hangs. */
export class Patience {
  readonly #controller = new AbortController()
  readonly #timeoutMs: number
  #end: number
  #timer: NodeJS.Timeout

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs
    this.#end = performance.now() + timeoutMs
    this.#timer = this.#start(timeoutMs)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Bytes have come: there is time for more, but not for a byte now and then. */
  progress(bytes: number): void {
    clearTimeout(this.#timer)
    this.#end += bytes / SLOWEST
    this.#timer = this.#start(Math.min(this.#timeoutMs, this.#end - performance.now()))
  }

  /** Ends the attempt, whatever is still open of it. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#controller.abort()
  }

  #start(ms: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#controller.abort()
    }, ms)
  }
}

/** Runs an attempt until no bytes come for `timeoutMs`, or fewer than 64 KB a second on the whole. */
export async function withPatience<T>(
  timeoutMs: number,
  attempt: (patience: Patience) => Promise<T>,
): Promise<T> {
  const patience = new Patience(timeoutMs)
  try {
    return await attempt(patience)
  } catch (error) {
    if (!patience.signal.aborted) throw error
    throw new TransientError(`no complete answer came within ${timeoutMs / 1000} s`, { cause: error })
  } finally {
    patience.stop()
  }
}
