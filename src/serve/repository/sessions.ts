/** The sessions of a version while it is being loaded: whatever goes wrong, none of them stays open. */

import type { Engine, Runner, SessionOptions } from '../../runtime/engine.ts'
import { openBfloat16 } from './bfloat16.ts'

/**
 * A session waits asleep: the HTTP side needs the cores too. Memory of one shape is of no use to the next. Clients must not
 * be able to fill the log.
 */
const OPTIONS: SessionOptions = { spinning: false, memoryPattern: false, printing: false }

export class Sessions {
  readonly #engine: Engine
  readonly #path: string
  readonly #bfloat16: boolean
  readonly #opened: Runner[] = []

  /** `bfloat16`: whether an input or output of the model is. */
  constructor(engine: Engine, path: string, bfloat16: boolean) {
    this.#engine = engine
    this.#path = path
    this.#bfloat16 = bfloat16
  }

  get opened(): readonly Runner[] {
    return this.#opened
  }

  /** A session that is not kept here: it takes the place of one that has ended. */
  replace(threads: number | null): Promise<Runner> {
    const options = { ...OPTIONS, ...(threads === null ? {} : { threads }) }
    return this.#bfloat16
      ? openBfloat16(this.#engine, this.#path, options)
      : this.#engine.openRunner(this.#path, options)
  }

  /** `threads`: null: the engine's own number. */
  async open(threads: number | null): Promise<Runner> {
    const runner = await this.replace(threads)
    this.#opened.push(runner)
    return runner
  }

  async close(runner: Runner): Promise<void> {
    this.#opened.splice(this.#opened.indexOf(runner), 1)
    await runner.close()
  }

  async closeAll(): Promise<void> {
    await Promise.all(this.#opened.map(runner => runner.close().catch(() => undefined)))
    this.#opened.length = 0
  }
}
