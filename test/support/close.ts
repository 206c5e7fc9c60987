/** Approximate equality that reports the worst element; NaN never passes. */

import * as assert from 'uvu/assert'

export interface Tolerance {
  /** |a - e| <= absolute + relative * |e|. */
  absolute?: number
  relative?: number
}

/** Asserts element-wise closeness and names the worst index. */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: Tolerance,
  what: string,
): void {
  const { absolute = 0, relative = 0 } = tolerance
  assert.is(actual.length, expected.length, `${what}: length`)
  let worst = -1
  let worstExcess = 0
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(actual[i]! - expected[i]!)
    const excess = error - (absolute + relative * Math.abs(expected[i]!))
    const same = Object.is(actual[i], expected[i]) && !Number.isNaN(actual[i])
    if (!same && !(excess <= worstExcess)) {
      worst = i
      worstExcess = Number.isNaN(excess) ? Infinity : excess
    }
  }
  if (worst >= 0) {
    assert.unreachable(
      `${what}: element ${worst} is ${actual[worst]!}, expected ${expected[worst]!} (absolute ${absolute}, relative ${relative})`,
    )
  }
}

/** ||a - e|| / ||e||, the measure of the numerical contract; NaN if anything is NaN. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert.is(actual.length, expected.length, 'length')
  let difference = 0
  let norm = 0
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2
    norm += expected[i]! ** 2
  }
  return Math.sqrt(difference) / Math.max(Math.sqrt(norm), 1e-30)
}
