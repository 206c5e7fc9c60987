/** The sessions of a version while it is being loaded: whatever goes wrong, none of them stays open. */

import { stat } from 'node:fs/promises'
import type { DataFile, Engine, Runner, SessionOptions } from '../../runtime/engine.ts'
import { openBfloat16 } from './bfloat16.ts'

/**
 * A session waits asleep: the HTTP side needs the cores too. Memory of one shape is of no use to the next. Clients must not
 * be able to fill the log.
 */
const OPTIONS: SessionOptions = { spinning: false, memoryPattern: false, printing: false }

/**
 * Up to so many bytes of data files are held in memory: somebody may copy other weights over them. Larger ones are mapped,
 * and can only be replaced by new files.
 */
const MOST_HELD = 512 * 2 ** 20

/** What a version's sessions are opened from. */
export interface Opening {
  readonly path: string
  /** Whether an input or output of the model is bfloat16. */
  readonly bfloat16: boolean
  readonly dataFiles: readonly DataFile[]
}

export class Sessions {
  readonly #engine: Engine
  readonly #from: Opening
  readonly #opened: Runner[] = []

  constructor(engine: Engine, from: Opening) {
    this.#engine = engine
    this.#from = from
  }

  get opened(): readonly Runner[] {
    return this.#opened
  }

  /** A session that is not kept here: it takes the place of one that has ended. */
  async replace(threads: number | null): Promise<Runner> {
    const { path, bfloat16, dataFiles } = this.#from
    const options = { ...OPTIONS, ...(threads === null ? {} : { threads }) }
    if (bfloat16) return openBfloat16(this.#engine, path, options)
    const held = (await bytesOf(dataFiles.map(file => file.path))) <= MOST_HELD ? dataFiles : []
    return this.#engine.openRunner(path, held.length === 0 ? options : { ...options, dataFiles: held })
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

export async function bytesOf(paths: readonly string[]): Promise<number> {
  const sizes = await Promise.all(paths.map(async path => (await stat(path)).size))
  return sizes.reduce((sum, size) => sum + size, 0)
}
