/**
 * How many steps are worth one run, where each run carries the whole state to the device and back: learned from what the
 * first runs cost.
 *
 * With s the time of a step and o that of what surrounds the steps of a run, n steps take o + n·s. Runs of 1 and of a few
 * steps tell the two apart; then n is the least at which o <= OVERHEAD · n·s.
 */

/** The share of the steps' own time that a run may cost beside it. */
const OVERHEAD = 0.05

/** Runs of one step, then runs of a few, that are timed; the very first is a warm-up that allocates and chooses kernels. */
const TIMED = 2
const FEW = 4

/** No more steps a run than this, whatever they cost: the caller hears of losses only after a run. */
const MAX_CHUNK = 256

export class ChunkSize {
  /** Set by `limitTo`. */
  #limit = MAX_CHUNK
  #warm = false
  /** Steps of a run -> how many such runs were timed, and the least of their milliseconds: that of an undisturbed one. */
  readonly #timed = new Map<number, { readonly runs: number; readonly least: number }>()
  #chosen: number | null = null

  /** Steps that are best sent at once from now on. */
  get chunk(): number {
    return Math.min(this.#chosen ?? this.#next(), this.#limit)
  }

  /** The most steps of a run, whatever they cost: memory says so. */
  limitTo(steps: number): void {
    this.#limit = Math.max(1, Math.min(this.#limit, steps))
  }

  /** Learns from a run that succeeded. */
  observe(steps: number, milliseconds: number): void {
    if (this.#chosen !== null) return
    if (!this.#warm) {
      this.#warm = true
      return
    }
    const { runs, least } = this.#timed.get(steps) ?? { runs: 0, least: Infinity }
    this.#timed.set(steps, { runs: runs + 1, least: Math.min(least, milliseconds) })
    const few = this.#few()
    if (this.#runsOf(1) >= TIMED && few > 1 && this.#runsOf(few) >= TIMED) this.#chosen = this.#choose(few)
  }

  /** What is timed next. */
  #next(): number {
    return this.#warm && this.#runsOf(1) >= TIMED ? FEW : 1
  }

  /** The largest number of steps that was timed often enough; 1 where there is none. */
  #few(): number {
    const sizes = [...this.#timed.keys()]
    return Math.max(1, ...sizes.filter(steps => this.#runsOf(steps) >= TIMED))
  }

  #runsOf(steps: number): number {
    return this.#timed.get(steps)?.runs ?? 0
  }

  #choose(few: number): number {
    const [one, many] = [this.#timed.get(1)!.least, this.#timed.get(few)!.least]
    const step = (many - one) / (few - 1)
    const overhead = one - step
    if (step <= 0) return MAX_CHUNK
    return Math.min(MAX_CHUNK, Math.max(1, Math.ceil(overhead / (OVERHEAD * step))))
  }
}
