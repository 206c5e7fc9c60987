/** Work that must not overlap: one piece after the other, in the order of asking. */

export class Lane {
  #last: Promise<unknown> = Promise.resolve()

  /** Runs `work` when all earlier work of the lane has ended, well or badly. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work, work)
    // Whoever asked hears of a failure; the next in the lane does not.
    this.#last = result.catch(() => undefined)
    return result
  }
}
