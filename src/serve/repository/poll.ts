/** Looks again and again, one look after the other. */

import { setTimeout as sleep } from 'node:timers/promises'

export interface Poll {
  stop(): Promise<void>
}

/** Calls `look` every `ms`; what it throws goes to `failed`. */
export function poll(ms: number, look: () => Promise<void>, failed: (error: unknown) => void): Poll {
  const controller = new AbortController()
  const { signal } = controller
  const run = async () => {
    // The pause ends early, and without a result, where it is stopped.
    while (await sleep(ms, true, { signal, ref: false }).catch(() => false)) await look().catch(failed)
  }
  const running = run()
  return {
    stop: () => {
      controller.abort()
      return running
    },
  }
}
