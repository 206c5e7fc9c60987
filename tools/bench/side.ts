/** A side of a comparison: a process of its own that answers each line of its input with a line of JSON. */

import { spawn, type ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'

export class Side<Ready, Answer> {
  readonly name: string
  readonly answers: Answer[] = []
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(name: string, command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env) {
    this.name = name
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], env })
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]()
  }

  /** What it says of itself before the first question. */
  ready(): Promise<Ready> {
    return this.#read<Ready>()
  }

  /** One question, one answer. */
  async ask(question = 'next'): Promise<Answer> {
    this.#child.stdin!.write(`${question}\n`)
    const answer = await this.#read<Answer>()
    this.answers.push(answer)
    return answer
  }

  async close(): Promise<void> {
    const ended = new Promise(resolve => this.#child.once('exit', resolve))
    this.#child.stdin!.end()
    await ended
  }

  async #read<T>(): Promise<T> {
    const line = await this.#lines.next()
    if (line.done) throw new Error(`${this.name}: the process ended`)
    return JSON.parse(line.value) as T
  }
}

/** Prints the lines that a `Side` reads. */
export function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
