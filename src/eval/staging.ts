/** A folder beside the output for models that are not delivered yet: what is in it takes its place by a rename, or is gone. */

import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { UsageError } from '../util/errors.ts'
import { syncFolder, writeError } from '../util/files.ts'

export class Staging {
  readonly #out: string
  /** Made when it is needed. */
  #folder: Promise<string> | null = null

  constructor(out: string) {
    this.#out = out
  }

  /** Where the output is written first; its data file beside it has the final name too. */
  async output(): Promise<string> {
    if (!existsSync(this.#out) && existsSync(`${this.#out}.data`)) {
      throw new UsageError(
        `write ${this.#out}: ${this.#out}.data is there already, and may belong to another model`,
        { cure: 'choose another name for the output, or move that file away' },
      )
    }
    return join(await this.#open(), basename(this.#out))
  }

  /** A place for a model that is needed for a while. */
  async temporary(name: string): Promise<string> {
    return join(await this.#open(), `${name}.${basename(this.#out)}`)
  }

  #open(): Promise<string> {
    this.#folder ??= mkdtemp(join(dirname(this.#out), `.${basename(this.#out)}.`)).catch((error: unknown) => {
      throw writeError(this.#out, error)
    })
    return this.#folder
  }

  /** Puts the output, its data file first, in place of what was there. */
  async deliver(): Promise<void> {
    const name = basename(this.#out)
    const folder = await this.#open()
    try {
      const present = await readdir(folder)
      for (const file of [`${name}.data`, name].filter(file => present.includes(file))) {
        await rename(join(folder, file), join(dirname(this.#out), file))
      }
      await syncFolder(dirname(this.#out))
    } catch (error) {
      throw writeError(this.#out, error)
    }
  }

  /** Removes what was not delivered. */
  async close(): Promise<void> {
    if (this.#folder) await rm(await this.#folder, { recursive: true, force: true })
  }
}
