/**
 * Exact sums of float64 numbers as expansions: components that do not overlap, in order of increasing magnitude.
 * Shewchuk, "Adaptive precision floating-point arithmetic", 1997; the rounding is that of Python's `math.fsum`.
 * Exact as long as no partial sum overflows; additions of float64 numbers cannot underflow.
 */

/** Adds `x` to an expansion in place; zeros are dropped. */
export function growExpansion(components: number[], x: number): number[] {
  let kept = 0
  for (let y of components) {
    if (Math.abs(x) < Math.abs(y)) [x, y] = [y, x]
    const high = x + y
    const low = y - (high - x)
    if (low !== 0) components[kept++] = low
    x = high
  }
  components.length = kept
  if (x !== 0) components.push(x)
  return components
}

/** The sum of an expansion, rounded once to nearest, ties to even. */
export function roundExpansion(components: readonly number[]): number {
  let n = components.length
  if (n === 0) return 0
  let high = components[--n]!
  let low = 0
  while (n > 0 && low === 0) {
    const x = high
    const y = components[--n]!
    high = x + y
    low = y - (high - x)
  }
  // `low` is half an ulp: what lies below it decides, and `high` was rounded without seeing it.
  if (n > 0 && low !== 0 && Math.sign(low) === Math.sign(components[n - 1]!)) {
    const twice = low * 2
    const other = high + twice
    if (other - high === twice) high = other
  }
  return high
}

/**
 * The canonical form of a sum S: c0 = RN(S), c1 = RN(S - c0), and so on, largest first, until nothing is left.
 * It depends on S alone, not on how S was reached; two components hold 106 bits and nearly always suffice.
 */
export function canonicalExpansion(components: readonly number[]): number[] {
  const rest = [...components]
  const canonical: number[] = []
  while (rest.length > 0) {
    const top = roundExpansion(rest)
    canonical.push(top)
    growExpansion(rest, -top)
  }
  return canonical
}
