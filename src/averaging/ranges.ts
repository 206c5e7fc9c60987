/** Work on ranges, several at a time, with results in order. */

/** Runs a job for each range from `first` to `end`, `ahead` of them being under way at a time. */
export async function* rangesInOrder<T>(
  first: number,
  end: number,
  size: number,
  ahead: number,
  run: (start: number, count: number) => Promise<T>,
): AsyncGenerator<T, undefined> {
  const flying: Promise<T>[] = []
  let next = first
  while (next < end || flying.length > 0) {
    for (; next < end && flying.length < ahead; next += size) {
      const promise = run(next, Math.min(size, end - next))
      // A failure is reported when its turn comes; until then it must not count as unhandled.
      promise.catch(() => undefined)
      flying.push(promise)
    }
    yield await flying.shift()!
  }
  return undefined
}
