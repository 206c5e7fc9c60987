/** metrics.jsonl: one object a line. Lines are appended as they come; resume cuts what a killed run wrote too much. */

import { open, type FileHandle } from 'node:fs/promises'
import { EnvironmentError, messageOf } from '../util/errors.ts'

export interface MetricsLine {
  readonly step: number
  readonly epoch: number
  readonly split: 'train' | 'val'
  /** Names as trackers know them: `loss`, `top1`, `lr`. */
  readonly metrics: Readonly<Record<string, number>>
  /** What was measured: the live weights, or a model made of them. */
  readonly model?: string
}

export class MetricsLog {
  readonly #path: string
  readonly #handle: FileHandle
  #bytes: number

  private constructor(path: string, handle: FileHandle, bytes: number) {
    this.#path = path
    this.#handle = handle
    this.#bytes = bytes
  }

  /** Opens the log behind its first `bytes` bytes. */
  static async open(path: string, bytes: number): Promise<MetricsLog> {
    const handle = await open(path, 'a')
    await handle.truncate(bytes)
    return new MetricsLog(path, handle, bytes)
  }

  /** Length of the file so far. */
  get bytes(): number {
    return this.#bytes
  }

  async append(line: MetricsLine): Promise<void> {
    const text = Buffer.from(`${JSON.stringify({ ts: Date.now(), ...line })}\n`)
    try {
      await this.#handle.appendFile(text)
    } catch (error) {
      throw new EnvironmentError(`write ${this.#path}: ${messageOf(error)}`, { cause: error })
    }
    this.#bytes += text.byteLength
  }

  /** Makes what was appended survive a crash of the machine. */
  async flush(): Promise<void> {
    await this.#handle.sync()
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }
}
