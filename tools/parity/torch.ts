/** PyTorch's side of a comparison: a Python process that answers requests, one JSON document a line. */

import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const SERVE = join(import.meta.dirname, '../fixtures/parity/serve.py')
const PYTHON = process.env['PYTHON'] ?? 'python3'

export interface Answers {
  open: { readonly name: string; readonly parameters: number }
  export: {
    readonly nodes: number
    readonly operators: readonly string[]
    readonly statistics: 'batch' | 'running'
  }
  batch: object
  compare: {
    /** Worst first. */
    readonly rows: readonly TensorError[]
    /** Parameters of PyTorch's that no trained weight of ours stands for. */
    readonly missing: readonly string[]
    /** Trained weights of ours that are no parameter of PyTorch's. */
    readonly extra: readonly string[]
    /** The worst error of PyTorch's own float32 gradients. */
    readonly torch: number
    readonly reference: 'float64' | 'float32'
    /** Parameters that PyTorch finds no gradient for: the main output does not depend on them. */
    readonly unreached: number
  }
  step: { readonly ms: number }
}

export interface TensorError {
  readonly tensor: string
  readonly error: number
  /** The error without the floor under small tensors. */
  readonly strict: number
  /** The error of PyTorch's own float32 gradient. */
  readonly torch: number
  readonly zero: boolean
}

export class Torch {
  readonly folder: string
  readonly #options: { readonly batch: number; readonly threads: number; readonly log: string }
  #child: ChildProcess | null = null
  #lines: AsyncIterator<string> | null = null

  constructor(folder: string, options: { batch: number; threads: number; log: string }) {
    this.folder = folder
    this.#options = options
  }

  /** Asks; an error of the other side is thrown. */
  async ask<K extends keyof Answers>(what: K, options: object = {}, seconds = 300): Promise<Answers[K]> {
    if (!this.#child) this.#start()
    const timer = setTimeout(() => this.#child?.kill('SIGKILL'), seconds * 1000)
    this.#child!.stdin!.write(`${JSON.stringify({ do: what, ...options })}\n`)
    const line = await this.#lines!.next()
    clearTimeout(timer)
    if (line.done) {
      this.#child = null
      throw new Error(`PyTorch's side ended while it was asked to ${what} (${seconds} s are its limit)`)
    }
    const answer = JSON.parse(line.value) as Answers[K] & { error?: string }
    if (answer.error !== undefined) throw new Error(`${what}: ${answer.error}`)
    return answer
  }

  #start(): void {
    const { batch, threads, log } = this.#options
    const errors = openSync(log, 'a')
    const env = { ...process.env, OMP_NUM_THREADS: String(threads), TOKENIZERS_PARALLELISM: 'false' }
    const args = [SERVE, this.folder, String(batch), String(threads)]
    this.#child = spawn(PYTHON, args, { stdio: ['pipe', 'pipe', errors], env })
    closeSync(errors)
    this.#child.stdin!.on('error', () => undefined)
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]()
  }

  async close(): Promise<void> {
    const child = this.#child
    if (!child) return
    const ended = new Promise(resolve => child.once('exit', resolve))
    child.stdin!.end()
    await ended
  }
}
