/** The exact mean by integers of any length: slow, plain and independent of src/averaging. */

import type { AveragedDType } from '../../../src/averaging/rounding.ts'

/** Bits of an element as a number of units of 2^-1074. */
interface Layout {
  readonly bits: number
  readonly fractionBits: number
  readonly bias: number
  /** The first magnitude that is no finite number, where that is not the one with an exponent of ones. */
  readonly end?: bigint
  /** Whether zero has one sign only. */
  readonly unsigned?: boolean
}

const LAYOUTS: Record<AveragedDType, Layout> = {
  float32: { bits: 32, fractionBits: 23, bias: 127 },
  float16: { bits: 16, fractionBits: 10, bias: 15 },
  bfloat16: { bits: 16, fractionBits: 7, bias: 127 },
  float64: { bits: 64, fractionBits: 52, bias: 1023 },
  float8e4m3fn: { bits: 8, fractionBits: 3, bias: 7, end: 0x7fn },
  float8e4m3fnuz: { bits: 8, fractionBits: 3, bias: 8, end: 0x80n, unsigned: true },
  float8e5m2: { bits: 8, fractionBits: 2, bias: 15 },
  float8e5m2fnuz: { bits: 8, fractionBits: 2, bias: 16, end: 0x80n, unsigned: true },
}

/** The value of a magnitude, the one after the largest included, in units of 2^-1074. */
function magnitudeOf(pattern: bigint, dtype: AveragedDType): bigint {
  const { fractionBits, bias } = LAYOUTS[dtype]
  const exponent = Number(pattern >> BigInt(fractionBits))
  const fraction = pattern & ((1n << BigInt(fractionBits)) - 1n)
  const significand = exponent === 0 ? fraction : fraction | (1n << BigInt(fractionBits))
  return significand << BigInt(Math.max(exponent, 1) - bias - fractionBits + 1074)
}

/** The value of a bit pattern in units of 2^-1074. */
export function unitsOf(pattern: bigint, dtype: AveragedDType): bigint {
  const sign = pattern & signBitOf(dtype)
  const magnitude = magnitudeOf(pattern ^ sign, dtype)
  return sign ? -magnitude : magnitude
}

/** The bit pattern of infinity, or what stands for it: finite magnitudes are below it. */
export function infinityOf(dtype: AveragedDType): bigint {
  const { bits, fractionBits, end } = LAYOUTS[dtype]
  return end ?? ((1n << BigInt(bits - 1 - fractionBits)) - 1n) << BigInt(fractionBits)
}

/** A negative number's pattern; formats without a negative zero have one zero. */
export function negate(magnitude: bigint, dtype: AveragedDType): bigint {
  return magnitude === 0n && LAYOUTS[dtype].unsigned ? 0n : magnitude | signBitOf(dtype)
}

export function signBitOf(dtype: AveragedDType): bigint {
  return 1n << BigInt(LAYOUTS[dtype].bits - 1)
}

/** The bit pattern of the correctly rounded weighted mean of bit patterns. */
export function referenceMean(
  patterns: readonly bigint[],
  weights: readonly number[],
  dtype: AveragedDType,
): bigint {
  const sum = patterns.reduce((total, p, i) => total + unitsOf(p, dtype) * BigInt(weights[i]!), 0n)
  const divisor = BigInt(weights.reduce((a, b) => a + b))
  if (sum === 0n) return patterns.every(p => p === signBitOf(dtype)) ? signBitOf(dtype) : 0n
  const magnitude = sum < 0n ? -sum : sum
  // Patterns of non-negative numbers are ordered as their values: the last one not above the mean, by bisection.
  let below = 0n
  let above = infinityOf(dtype)
  while (above - below > 1n) {
    const middle = (below + above) >> 1n
    if (magnitudeOf(middle, dtype) * divisor <= magnitude) below = middle
    else above = middle
  }
  const twice = (magnitudeOf(below, dtype) + magnitudeOf(above, dtype)) * divisor
  const up = 2n * magnitude > twice || (2n * magnitude === twice && below & 1n)
  const rounded = up ? above : below
  return sum < 0n ? negate(rounded, dtype) : rounded
}
