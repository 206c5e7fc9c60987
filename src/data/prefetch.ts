/** Work done ahead of its consumer, in order, within bounds. */

/** Runs at most `most` tasks at a time, in the order of asking. */
export class Limiter {
  readonly #waiting: (() => void)[] = []
  #free: number

  constructor(most: number) {
    this.#free = most
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>(resolve => this.#waiting.push(resolve))
    try {
      return await task()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free++
    }
  }
}

export interface PrefetchOptions {
  /** Results held ready besides the one in use. */
  readonly ahead: number
  readonly signal?: AbortSignal | undefined
}

/**
 * Yields make(first), ..., make(end - 1) in order; later ones are under way while earlier ones are used. The first
 * failure in that order is thrown, once; then, and when the consumer leaves or `signal` aborts, the signal given to
 * `make` aborts, and nothing more is started. An abort throws the signal's reason.
 */
export async function* prefetch<T>(
  first: number,
  end: number,
  make: (index: number, signal: AbortSignal) => Promise<T>,
  options: PrefetchOptions,
): AsyncGenerator<T, void, undefined> {
  const { ahead, signal } = options
  const stop = new AbortController()
  const abort = () => stop.abort(signal!.reason)
  const queue: Promise<T>[] = []
  let next = first
  signal?.throwIfAborted()
  signal?.addEventListener('abort', abort, { once: true })
  try {
    for (let index = first; index < end; index++) {
      while (next < end && next <= index + ahead) {
        const pending = make(next++, stop.signal)
        pending.catch(() => undefined) // seen when its turn comes, or superseded by an earlier failure
        queue.push(pending)
      }
      const result = await queue.shift()!
      signal?.throwIfAborted()
      yield result
      signal?.throwIfAborted()
    }
  } finally {
    signal?.removeEventListener('abort', abort)
    stop.abort()
    await Promise.allSettled(queue)
  }
}
