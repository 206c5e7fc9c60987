/**
 * Where a chain of layers is cut for recomputation (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"):
 * what crosses a cut is kept from the forward to the backward pass, what lies between two cuts is computed again.
 *
 * The cuts are those of the lowest peak. While a segment runs backward, memory holds what crossed the cuts up to its
 * beginning, its own values, and the gradient of what crosses its end:
 *
 *     peak = max over segments of kept(begin) + values(segment) + crossing(end)
 *
 * For a bound on the peak, the way to each cut that keeps least is a shortest path over the cuts before it (less is
 * better for all that follows); the lowest bound for which there is one is found by bisection.
 */

/** A value as the choice sees it: times are positions of nodes in the forward pass; inputs are born at -1. */
export interface Span {
  readonly bytes: number
  readonly born: number
  /** The last node that reads it in the forward pass. */
  readonly lastRead: number
  /** Whether the backward pass reads it. */
  readonly saved: boolean
}

export interface Segment {
  /** The nodes `begin + 1` to `end` of the forward pass. */
  readonly begin: number
  readonly end: number
  /** Kept as it is, where that does not raise the peak. */
  readonly kept: boolean
}

/** More places to cut are not compared: the pairs of them are what takes time. */
const MOST_CUTS = 400
/** Bisections: the bound is known to a thousandth. */
const ROUNDS = 20

/** Cuts the nodes 0 to `count - 1` into segments. */
export function chooseSegments(spans: readonly Span[], count: number): Segment[] {
  const costs = new Costs(spans, placesToCut(spans, count), count)
  let [low, high] = [0, costs.peak(0, costs.places.length - 1)]
  let path = costs.pathWithin(high)
  for (let round = 0; round < ROUNDS && path; round++) {
    const middle = (low + high) / 2
    const found = costs.pathWithin(middle)
    if (found) [path, high] = [found, middle]
    else low = middle
  }
  if (!path) return [{ begin: -1, end: count - 1, kept: true }]
  return costs.keepWhatFits(path, high)
}

/** Positions where less crosses than at their neighbours, with the two ends; the lowest where there are too many. */
function placesToCut(spans: readonly Span[], count: number): number[] {
  const crossing = new Float64Array(count + 1)
  for (const { bytes, born, lastRead } of spans) {
    if (lastRead <= born) continue
    crossing[Math.max(0, born)]! += bytes
    crossing[lastRead]! -= bytes
  }
  for (let i = 1; i < count; i++) crossing[i]! += crossing[i - 1]!
  const inner = Array.from({ length: Math.max(0, count - 2) }, (_, i) => i + 1)
  const lowest = inner
    .filter(i => crossing[i]! <= crossing[i - 1]! && crossing[i]! <= crossing[i + 1]!)
    .sort((a, b) => crossing[a]! - crossing[b]!)
    .slice(0, MOST_CUTS)
  return [-1, ...lowest.sort((a, b) => a - b), count - 1]
}

/** What segments between places cost. Segments are pairs of indices into `places`. */
class Costs {
  readonly places: readonly number[]
  /** Bytes of saved values born up to each place. */
  readonly #savedUpTo: readonly number[]
  /** What crosses each place. */
  readonly #crossing: readonly (readonly Span[])[]

  constructor(spans: readonly Span[], places: readonly number[], count: number) {
    this.places = places
    const bornAt = new Float64Array(count + 1)
    for (const { bytes, born, saved } of spans) if (saved) bornAt[born + 1]! += bytes
    for (let i = 1; i <= count; i++) bornAt[i]! += bornAt[i - 1]!
    this.#savedUpTo = places.map(place => bornAt[place + 1]!)
    this.#crossing = places.map(place =>
      spans.filter(({ born, lastRead }) => born <= place && lastRead > place),
    )
  }

  /** Bytes of the values of a segment that its backward pass reads, without what crosses its end. */
  saved(begin: number, end: number): number {
    const crossing = this.#crossing[end]!.filter(({ saved, born }) => saved && born > this.places[begin]!)
    return this.#savedUpTo[end]! - this.#savedUpTo[begin]! - sumOf(crossing)
  }

  /** The places of the cuts, ends included, that keep least and have no higher peak; null if there are none. */
  pathWithin(bound: number): number[] | null {
    const count = this.places.length
    const kept = new Float64Array(count).fill(Infinity)
    const from = new Int32Array(count).fill(-1)
    kept[0] = sumOf(this.#crossing[0]!)
    for (let end = 1; end < count; end++) {
      for (let begin = 0; begin < end; begin++) {
        if (kept[begin]! + this.peak(begin, end) > bound) continue
        const total = kept[begin]! + this.#added(begin, end)
        if (total >= kept[end]!) continue
        kept[end] = total
        from[end] = begin
      }
    }
    if (from[count - 1] === -1) return null
    const path = [count - 1]
    while (path[0]! > 0) path.unshift(from[path[0]!]!)
    return path
  }

  /**
   * The segments of a path, as many of the last ones as possible kept: late layers have small maps and much arithmetic.
   * The very last is, since its backward pass begins where its forward pass ends.
   */
  keepWhatFits(path: readonly number[], bound: number): Segment[] {
    const pairs = path.slice(1).map((end, k) => [path[k]!, end] as const)
    const kept = pairs.map((_, k) => k === pairs.length - 1)
    const fits = () => {
      let held = sumOf(this.#crossing[0]!)
      return pairs.every(([begin, end], k) => {
        const within = held + this.peak(begin, end) <= bound
        held += this.#added(begin, end) + (kept[k]! ? this.saved(begin, end) : 0)
        return within
      })
    }
    for (let k = pairs.length - 2; k >= 0; k--) {
      kept[k] = true
      kept[k] = fits()
    }
    return pairs.map(([begin, end], k) => {
      return { begin: this.places[begin]!, end: this.places[end]!, kept: kept[k]! }
    })
  }

  /** What a segment adds to what was kept before it while it runs backward. */
  peak(begin: number, end: number): number {
    return this.saved(begin, end) + sumOf(this.#crossing[end]!)
  }

  /** What is kept for crossing the end of a segment and did not cross its beginning. */
  #added(begin: number, end: number): number {
    return sumOf(this.#crossing[end]!.filter(({ born }) => born > this.places[begin]!))
  }
}

function sumOf(spans: readonly Span[]): number {
  return spans.reduce((sum, { bytes }) => sum + bytes, 0)
}
