/**
 * Rounds an exact sum S divided by a whole number K to a tensor's own dtype, once: the correctly rounded mean.
 *
 * Where S is one float64, `RN_dtype(RN_64(S / K))` is right. The second rounding could go wrong only if RN_64(S / K) were
 * the midpoint m of two neighbours of the dtype while S / K is not. But m has at most 25 bits and K at most 28, so P = m K
 * is a float64; if S differs from it, then by at least half a unit in the last place of P on the side where that is halved,
 * else by a whole one, that is relatively by 2^-53 or more, and S / K is rounded to a neighbour of m, not to m.
 * Where S has more bits than that, it is compared with P (`roundNarrow`).
 */

import { invariant } from '../util/errors.ts'
import type { DType } from '../tensor/dtype.ts'
import { roundHalfEven } from '../tensor/dtype.ts'
import type { Float8DType } from '../tensor/float8.ts'
import { roundedQuotient } from './rational.ts'

/** Weights of all members together may not exceed this, so that m · total and weight · element stay exact. */
export const MAX_TOTAL_WEIGHT = 2 ** 28

/** Dtypes that are averaged. */
export type AveragedDType = 'float32' | 'float16' | 'bfloat16' | 'float64' | Float8DType

export interface FloatFormat {
  /** Significant bits, the hidden one included. */
  readonly precision: number
  /** log2 of the spacing of subnormal numbers. */
  readonly minimum: number
}

export const FORMATS: Readonly<Record<AveragedDType, FloatFormat>> = {
  float32: { precision: 24, minimum: -149 },
  float16: { precision: 11, minimum: -24 },
  bfloat16: { precision: 8, minimum: -133 },
  float64: { precision: 53, minimum: -1074 },
  float8e4m3fn: { precision: 4, minimum: -9 },
  float8e4m3fnuz: { precision: 4, minimum: -10 },
  float8e5m2: { precision: 3, minimum: -16 },
  float8e5m2fnuz: { precision: 3, minimum: -17 },
}

export function isAveraged(dtype: DType): dtype is AveragedDType {
  return dtype in FORMATS
}

const scratch = new DataView(new ArrayBuffer(8))

/** floor(log2 |x|) of a normal float64. */
function exponentOf(x: number): number {
  scratch.setFloat64(0, x)
  return ((scratch.getUint16(0) >> 4) & 0x7ff) - 1023
}

/**
 * The mean of a sum in canonical form (expansion.ts): correctly rounded to a format narrower than float64.
 * 1. q = RN(high / total) lies in the same gap of the format as the mean, or at most 2^-52 relative beside it.
 * 2. f and g are the ends of q's gap, m is its middle.
 * 3. sign(sum - m · total) decides; `high` decides it unless high = m · total, then the sign of the next component does.
 */
function roundNarrow(sum: readonly number[], total: number, format: FloatFormat): number {
  const [high = 0, low = 0] = sum
  const q = high / total
  if (q === 0) return q
  const magnitude = Math.abs(q)
  const spacing = 2 ** Math.max(exponentOf(q) - format.precision + 1, format.minimum)
  const f = roundHalfEven(magnitude / spacing) * spacing
  const rest = magnitude - f
  const sign = q < 0 ? -1 : 1
  if (rest === 0) return sign * f
  const side = rest > 0 ? 1 : -1
  const g = f + side * spacing
  const m = f + (side * spacing) / 2
  const beyond = sign * (high - sign * m * total || low) * side
  // At a tie q is m, and f was made even by rounding it.
  return sign * (beyond > 0 ? g : f)
}

/** The same for float64, where the midpoint itself does not fit: exact integers decide. */
function roundWide(sum: readonly number[], total: number): number {
  const [high = 0] = sum
  if (sum.length < 2) return high / total
  return roundedQuotient(sum, total)
}

/** `sum / total` correctly rounded to `dtype`; `sum` in canonical form, largest component first. */
export function roundMean(sum: readonly number[], total: number, dtype: AveragedDType): number {
  invariant(total >= 1 && total <= MAX_TOTAL_WEIGHT, `total weight ${total}`)
  return dtype === 'float64' ? roundWide(sum, total) : roundNarrow(sum, total, FORMATS[dtype])
}
