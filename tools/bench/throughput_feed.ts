/**
 * The batches of throughput.ts, made in a thread of their own as those of a training are: copies of one stored batch, whose
 * memory is handed over.
 */

import { Worker } from 'node:worker_threads'

/** The bytes of a batch, in the order of the files. */
export type BatchBytes = readonly Uint8Array<ArrayBuffer>[]

/** Batches that are made before they are asked for. */
const AHEAD = 8

/** The thread: one batch for each message. Plain JavaScript, which a thread of tsx runs as it is. */
const THREAD = `
const { readFileSync } = require('node:fs')
const { parentPort, workerData } = require('node:worker_threads')
const stored = workerData.map(file => readFileSync(file))
parentPort.on('message', () => {
  const batch = stored.map(bytes => new Uint8Array(bytes))
  parentPort.postMessage(batch, batch.map(({ buffer }) => buffer))
})
`

export class BatchFeed {
  readonly #worker: Worker
  readonly #made: BatchBytes[] = []
  readonly #waiting: ((batch: BatchBytes) => void)[] = []

  constructor(files: readonly string[]) {
    this.#worker = new Worker(THREAD, { eval: true, workerData: files })
    this.#worker.on('message', (batch: BatchBytes) => {
      const taker = this.#waiting.shift()
      if (taker) taker(batch)
      else this.#made.push(batch)
    })
    for (let i = 0; i < AHEAD; i++) this.#worker.postMessage(null)
  }

  async next(): Promise<BatchBytes> {
    this.#worker.postMessage(null)
    return this.#made.shift() ?? (await new Promise(resolve => this.#waiting.push(resolve)))
  }

  async close(): Promise<void> {
    await this.#worker.terminate()
  }
}
