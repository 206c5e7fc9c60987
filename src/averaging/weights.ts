/** Weights of members as whole numbers in the same ratio: whole numbers keep weighted sums exact. */

import { UsageError } from '../util/errors.ts'
import { MAX_TOTAL_WEIGHT } from './rounding.ts'

/**
 * Whole numbers in the ratio of the given ones, each taken as the decimal that it is written as: 0.3 and 0.7 give 3 and 7.
 * Equal weights give 1 each.
 */
export function wholeWeights(weights: readonly number[]): number[] {
  const decimals = weights.map(weight => {
    if (!Number.isFinite(weight) || weight <= 0) {
      throw new UsageError(`average: a weight should be a positive number, found ${weight}`, {
        cure: 'leave a member out instead of giving it the weight 0',
      })
    }
    const [digits = '', exponent = '0'] = weight.toExponential().split('e')
    const [whole = '', fraction = ''] = digits.split('.')
    return { digits: BigInt(whole + fraction), exponent: Number(exponent) - fraction.length }
  })
  const least = Math.min(...decimals.map(({ exponent }) => exponent))
  const scaled = decimals.map(({ digits, exponent }) => digits * 10n ** BigInt(exponent - least))
  const divisor = scaled.reduce(greatestCommonDivisor, 0n)
  const whole = scaled.map(weight => weight / divisor)
  const total = whole.reduce((sum, weight) => sum + weight, 0n)
  if (total > BigInt(MAX_TOTAL_WEIGHT)) {
    throw new UsageError(
      `average: as whole numbers the weights ${weights.join(', ')} sum up to ${total.toString()}, expected at most 2^28`,
      { cure: 'give weights with fewer digits' },
    )
  }
  return whole.map(Number)
}

function greatestCommonDivisor(a: bigint, b: bigint): bigint {
  while (b > 0n) [a, b] = [b, a % b]
  return a
}
