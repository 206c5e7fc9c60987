/** One session of a model: it is opened again when the thread that it runs in has ended. */

import { setTimeout as sleep } from 'node:timers/promises'
import type { Feeds, Lender, Runner } from '../../runtime/engine.ts'
import type { Results } from './work.ts'

/** Milliseconds before the first attempt to open a session again, doubled up to the last. */
const FIRST_PAUSE = 100
const LAST_PAUSE = 10_000

export interface InstanceEvents {
  /** A session has ended, for this reason. */
  readonly crashed: (error: Error) => void
  /** There is a session again. */
  readonly opened: () => void
  /** It could not be opened; it is tried again. */
  readonly failed: (error: Error) => void
}

export class Instance {
  readonly #open: () => Promise<Runner>
  readonly #events: InstanceEvents
  #runner: Runner | null
  #closed = false
  /** Runs that were begun and have no result. */
  running = 0

  constructor(runner: Runner, open: () => Promise<Runner>, events: InstanceEvents) {
    this.#runner = runner
    this.#open = open
    this.#events = events
  }

  get ready(): boolean {
    return this.#runner !== null && this.#runner.alive !== false
  }

  /** Runs; a session that ended meanwhile shows in `ready`. The feeds' memory is lent. */
  async run(feeds: Feeds, outputs: readonly string[], lender: Lender): Promise<Results> {
    const runner = this.#runner
    if (runner === null) throw new Error('the session is being opened')
    this.running++
    try {
      return await runner.run(feeds, outputs, lender)
    } catch (error) {
      if (runner.alive === false) this.#reopen(runner, error as Error)
      throw error
    } finally {
      this.running--
    }
  }

  /** Opens a session that has ended while nobody asked it for anything. */
  check(): void {
    const runner = this.#runner
    if (runner?.alive === false) this.#reopen(runner, new Error('the session thread ended'))
  }

  /** Ends the session as a crash would. */
  async crash(): Promise<void> {
    await this.#runner?.crash?.()
    this.check()
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#runner?.close()
    this.#runner = null
  }

  #reopen(runner: Runner, error: Error): void {
    if (this.#runner !== runner || this.#closed) return
    this.#runner = null
    this.#events.crashed(error)
    void this.#openAgain()
  }

  async #openAgain(): Promise<void> {
    for (let pause = FIRST_PAUSE; !this.#closed; pause = Math.min(pause * 2, LAST_PAUSE)) {
      try {
        const runner = await this.#open()
        // It was closed while the session was being opened.
        if (this.closed) {
          await runner.close()
          return
        }
        this.#runner = runner
        this.#events.opened()
        return
      } catch (error) {
        this.#events.failed(error as Error)
        await sleep(pause, undefined, { ref: false })
      }
    }
  }

  get closed(): boolean {
    return this.#closed
  }
}
