/** Requests by name, and their handlers: in another thread (thread.ts), or in this one, in order. */

/** Request name -> its arguments and its answer. */
export type RequestTable = Record<string, { arguments: unknown; result: unknown }>

export type Handlers<T extends RequestTable> = {
  [K in keyof T]: (argument: T[K]['arguments']) => Promise<T[K]['result']>
}

/** How a request is made: of a thread, or of handlers in this one. */
export interface Channel<T extends RequestTable> {
  request<K extends keyof T>(
    kind: K,
    argument: T[K]['arguments'],
    transfer?: ArrayBuffer[],
  ): Promise<T[K]['result']>
}

/** Handlers of this thread as a channel: one request after the other, because they share state. */
export function inOrder<T extends RequestTable>(handlers: Handlers<T>): Channel<T> {
  let last: Promise<unknown> = Promise.resolve()
  return {
    request: (kind, argument) => {
      const result = last.then(() => handlers[kind](argument))
      last = result.catch(() => undefined)
      return result
    },
  }
}
