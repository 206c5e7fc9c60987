/** Results on stdout, everything else on stderr: log lines, warnings, one live progress line on a terminal. */

import pc from 'picocolors'
import { formatDuration, formatRate } from '../util/format.ts'

export interface ProgressState {
  /** What is going on, e.g. `train`. */
  readonly label: string
  readonly done: number
  readonly total: number
  /** What is counted, e.g. `steps`. */
  readonly unit: string
  /** Anything worth showing, e.g. `loss 0.123`. */
  readonly detail?: string
}

/** Lines between redraws of a plain log, in milliseconds. */
const PLAIN_INTERVAL_MS = 5000
const REDRAW_INTERVAL_MS = 100

/** Takes lines in place of stderr. */
export interface Log {
  info(message: string): void
  warn(message: string): void
}

export class Terminal {
  readonly #json: boolean
  readonly #log: Log | undefined
  readonly #live: boolean
  #lineShown = false
  #lastDraw = 0
  #label = ''
  #startedAt = 0
  #startedDone = 0
  /** The last known rate of each label: work that alternates with other work has one at once. */
  readonly #rates = new Map<string, number>()

  /** `json`: results are one JSON document on stdout. `log` gets what is information or a warning. */
  constructor(options: { json: boolean; log?: Log | undefined }) {
    this.#json = options.json
    this.#log = options.log
    this.#live = process.stderr.isTTY && process.env['TERM'] !== 'dumb'
  }

  /** A result: text for people, or the document with --json. */
  result(text: string, document: unknown): void {
    this.#clear()
    process.stdout.write(this.#json ? `${JSON.stringify(document, null, 2)}\n` : `${text}\n`)
  }

  info(message: string): void {
    if (this.#log) this.#log.info(message)
    else this.#line(message)
  }

  warn(message: string): void {
    if (this.#log) this.#log.warn(message)
    else this.#line(`${pc.yellow('warning:')} ${message}`)
  }

  /** One line, whatever a library put into its message. */
  error(message: string, cure?: string): void {
    this.#line(`${pc.red('error:')} ${message.trim().replace(/\s*\n\s*/g, ' ')}`)
    if (cure) this.#line(`  ${pc.cyan('help:')} ${cure}`)
  }

  /** Shows progress: redraws one line on a terminal, prints a line every few seconds elsewhere. */
  progress(state: ProgressState): void {
    const now = performance.now()
    if (state.label !== this.#label) {
      this.#label = state.label
      this.#startedAt = now
      this.#startedDone = state.done
      this.#lastDraw = this.#live ? 0 : now
    }
    const last = state.done >= state.total
    const interval = this.#live ? REDRAW_INTERVAL_MS : PLAIN_INTERVAL_MS
    if (now - this.#lastDraw < interval && !(last && this.#live)) return
    this.#lastDraw = now
    const line = this.#describe(state, (now - this.#startedAt) / 1000)
    if (!this.#live) {
      process.stderr.write(`${line}\n`)
      return
    }
    const width = process.stderr.columns || 80
    process.stderr.write(`\r\x1b[K${line.slice(0, width - 1)}`)
    this.#lineShown = true
  }

  /** Ends the live line. */
  done(): void {
    this.#clear()
    this.#label = ''
  }

  #describe({ label, done, total, unit, detail }: ProgressState, seconds: number): string {
    if (seconds > 0 && done > this.#startedDone) this.#rates.set(label, (done - this.#startedDone) / seconds)
    const rate = this.#rates.get(label) ?? 0
    const percent = total > 0 ? Math.floor((100 * done) / total) : 100
    const speed = rate > 0 ? `, ${formatRate(rate)}` : ''
    const eta = rate > 0 && done < total ? `, ${formatDuration((total - done) / rate)} left` : ''
    return `${label} ${percent}% (${done}/${total} ${unit}${speed}${eta})${detail ? `  ${detail}` : ''}`
  }

  #line(text: string): void {
    this.#clear()
    process.stderr.write(`${text}\n`)
  }

  #clear(): void {
    if (this.#lineShown) process.stderr.write('\r\x1b[K')
    this.#lineShown = false
  }
}
