/** The exact mean by integers of any length: slow, plain and independent of src/averaging. */

import type { AveragedDType } from '../../../src/averaging/rounding.ts'

/** Bits of an element as a number of units of 2^-1074. */
interface Layout {
  readonly bits: number
  readonly fractionBits: number
  readonly bias: number
}

const LAYOUTS: Record<AveragedDType, Layout> = {
  float32: { bits: 32, fractionBits: 23, bias: 127 },
  float16: { bits: 16, fractionBits: 10, bias: 15 },
  bfloat16: { bits: 16, fractionBits: 7, bias: 127 },
  float64: { bits: 64, fractionBits: 52, bias: 1023 },
}

/** The value of a bit pattern in units of 2^-1074. */
export function unitsOf(pattern: bigint, dtype: AveragedDType): bigint {
  const { bits, fractionBits, bias } = LAYOUTS[dtype]
  const sign = (pattern >> BigInt(bits - 1)) & 1n
  const exponent = Number((pattern >> BigInt(fractionBits)) & ((1n << BigInt(bits - 1 - fractionBits)) - 1n))
  const fraction = pattern & ((1n << BigInt(fractionBits)) - 1n)
  const significand = exponent === 0 ? fraction : fraction | (1n << BigInt(fractionBits))
  const magnitude = significand << BigInt(Math.max(exponent, 1) - bias - fractionBits + 1074)
  return sign ? -magnitude : magnitude
}

/** Bit pattern of infinity: finite magnitudes are below it. */
export function infinityOf(dtype: AveragedDType): bigint {
  const { bits, fractionBits } = LAYOUTS[dtype]
  return ((1n << BigInt(bits - 1 - fractionBits)) - 1n) << BigInt(fractionBits)
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
    if (unitsOf(middle, dtype) * divisor <= magnitude) below = middle
    else above = middle
  }
  const twice = (unitsOf(below, dtype) + unitsOf(above, dtype)) * divisor
  const up = 2n * magnitude > twice || (2n * magnitude === twice && below & 1n)
  return (up ? above : below) | (sum < 0n ? signBitOf(dtype) : 0n)
}
