/**
 * Which members make the best average on held-out data. Wortsman et al., "Model soups", 2022: members are sorted by their own
 * score, and one is taken if the average is better with it. What is chosen is never worse than the best single member on
 * these data, because that is where the search begins.
 */

import type { AverageOptions } from '../averaging/index.ts'
import { UsageError } from '../util/errors.ts'

export type SoupKind =
  /** One pass over the members, best first. */
  | 'greedy'
  /** All subsets of up to EXHAUSTIVE members; of more, adding and removing single ones until nothing is better. */
  | 'best'

export interface Tried {
  /** Positions among the members, ascending. */
  readonly members: readonly number[]
  /** Higher is better. */
  readonly score: number
}

export interface Soup extends Tried {
  readonly kind: SoupKind
  /** Everything that was measured, in order: single members first. */
  readonly tried: readonly Tried[]
}

/** With so many members all 2^n - 1 subsets are measured. */
export const EXHAUSTIVE = 8

/**
 * Looks for the best subset of `count` members.
 *
 * @param measure the score of the average of some members, of one member its own
 */
export async function findSoup(
  kind: SoupKind,
  count: number,
  measure: (members: readonly number[]) => Promise<number>,
): Promise<Soup> {
  if (count < 2) throw new UsageError(`average: a soup takes 2 or more members, found ${count}`)
  const search = new Search(measure)
  for (let k = 0; k < count; k++) await search.score([k])
  if (kind === 'greedy') await greedy(search, count)
  else if (count <= EXHAUSTIVE) await exhaustive(search, count)
  else {
    await greedy(search, count)
    await climb(search, count)
  }
  return { kind, ...search.best, tried: search.tried }
}

class Search {
  readonly #measure: (members: readonly number[]) => Promise<number>
  readonly #scores = new Map<string, number>()
  readonly tried: Tried[] = []

  constructor(measure: (members: readonly number[]) => Promise<number>) {
    this.#measure = measure
  }

  async score(members: readonly number[]): Promise<number> {
    const ordered = [...members].sort((a, b) => a - b)
    const key = ordered.join()
    const known = this.#scores.get(key)
    if (known !== undefined) return known
    const score = await this.#measure(ordered)
    this.#scores.set(key, score)
    this.tried.push({ members: ordered, score })
    return score
  }

  /** Of equal ones the first: fewer members were tried before more. */
  get best(): Tried {
    return this.tried.reduce((best, other) => (other.score > best.score ? other : best))
  }
}

async function greedy(search: Search, count: number): Promise<void> {
  const singles = search.tried.slice(0, count)
  const ranked = [...singles].sort((a, b) => b.score - a.score).map(({ members }) => members[0]!)
  let soup = [ranked[0]!]
  let best = await search.score(soup)
  for (const member of ranked.slice(1)) {
    const score = await search.score([...soup, member])
    if (score <= best) continue
    soup = [...soup, member]
    best = score
  }
}

async function exhaustive(search: Search, count: number): Promise<void> {
  const subsets = Array.from({ length: 2 ** count - 1 }, (_, i) => i + 1).map(mask =>
    Array.from({ length: count }, (_, k) => k).filter(k => (mask >> k) & 1),
  )
  for (const subset of subsets.sort((a, b) => a.length - b.length)) await search.score(subset)
}

/** Adds or removes the member that helps most, as long as one does. */
async function climb(search: Search, count: number): Promise<void> {
  for (;;) {
    const { members, score } = search.best
    for (let k = 0; k < count; k++) {
      const changed = members.includes(k) ? members.filter(member => member !== k) : [...members, k]
      if (changed.length > 0) await search.score(changed)
    }
    if (search.best.score <= score) return
  }
}

/** The options for some of the members. */
export function weightsOfSome(average: AverageOptions, members: readonly number[]): AverageOptions {
  const { weights, ...rest } = average
  return weights && members.length > 1 ? { ...rest, weights: members.map(k => weights[k]!) } : rest
}
