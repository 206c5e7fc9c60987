/** Requests that wait, in a queue for each key; whoever waits longest is served first. */

import type { Work } from './work.ts'

export class Queues {
  readonly #byKey = new Map<string, Work[]>()
  /** Requests that wait and still want an answer. */
  requests = 0
  /** Their samples. */
  items = 0

  /** `front`: before all others of its key, for one that was running already. */
  push(work: Work, front = false): void {
    const queue = this.#byKey.get(work.key)
    if (queue === undefined) this.#byKey.set(work.key, [work])
    else if (front) queue.unshift(work)
    else queue.push(work)
    this.requests++
    this.items += work.items
    work.onSettled = () => this.#forget(work)
  }

  /** The first of each key that still wants an answer. */
  heads(): Work[] {
    const heads: Work[] = []
    for (const [key, queue] of this.#byKey) {
      let settled = 0
      while (settled < queue.length && queue[settled]!.settled) settled++
      if (settled > 0) queue.splice(0, settled)
      if (queue.length === 0) this.#byKey.delete(key)
      else heads.push(queue[0]!)
    }
    return heads
  }

  /** Samples that wait under a key. */
  itemsOf(key: string): number {
    return (this.#byKey.get(key) ?? []).reduce((sum, work) => sum + (work.settled ? 0 : work.items), 0)
  }

  /** Takes requests of a key in order, up to so many samples; the first in any case. */
  take(key: string, most: number): Work[] {
    const queue = this.#byKey.get(key) ?? []
    const taken: Work[] = []
    let items = 0
    let passed = 0
    for (const work of queue) {
      if (!work.settled) {
        if (taken.length > 0 && items + work.items > most) break
        taken.push(work)
        items += work.items
      }
      passed++
    }
    queue.splice(0, passed)
    if (queue.length === 0) this.#byKey.delete(key)
    for (const work of taken) {
      work.onSettled = null
      this.#forget(work)
    }
    return taken
  }

  /** Everything that waits. */
  takeAll(): Work[] {
    return [...this.#byKey.keys()].flatMap(key => this.take(key, Infinity))
  }

  #forget(work: Work): void {
    this.requests--
    this.items -= work.items
  }
}
