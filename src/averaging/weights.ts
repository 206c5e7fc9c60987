/** Weights of members as whole numbers in the same ratio: whole numbers keep weighted sums exact. */

import { invariant, UsageError } from '../util/errors.ts'
import { MAX_TOTAL_WEIGHT } from './rounding.ts'

/**
 * Whole numbers in the ratio of the given ones, each taken as the decimal that it is written as: 0.3 and 0.7 give 3 and 7.
 * Equal weights give 1 each. Negative ones are those of models that are moved away from; the sum is positive.
 *
 * @param options.zeroFirst whether the first one may be 0
 */
export function wholeWeights(
  weights: readonly number[],
  options: { readonly zeroFirst?: boolean } = {},
): number[] {
  const decimals = weights.map((weight, i) => {
    if (!Number.isFinite(weight) || (weight === 0 && !(i === 0 && options.zeroFirst))) {
      throw new UsageError(`average: a weight should be a number other than 0, found ${weight}`, {
        cure: 'leave a member out instead of giving it the weight 0',
      })
    }
    const [digits = '', exponent = '0'] = weight.toExponential().split('e')
    const [whole = '', fraction = ''] = digits.split('.')
    return { digits: BigInt(whole + fraction), exponent: Number(exponent) - fraction.length }
  })
  const least = Math.min(...decimals.map(({ exponent }) => exponent))
  const scaled = decimals.map(({ digits, exponent }) => digits * 10n ** BigInt(exponent - least))
  const divisor = scaled.map(magnitude).reduce(greatestCommonDivisor, 0n)
  const whole = scaled.map(weight => weight / divisor)
  const size = whole.map(magnitude).reduce((sum, weight) => sum + weight, 0n)
  if (size > BigInt(MAX_TOTAL_WEIGHT)) {
    throw new UsageError(
      `average: as whole numbers the weights ${weights.join(', ')} sum up to ${size.toString()}, expected at most 2^28`,
      { cure: 'give weights with fewer digits' },
    )
  }
  const total = whole.reduce((sum, weight) => sum + weight, 0n)
  if (total <= 0n) {
    throw new UsageError(`average: the weights ${weights.join(', ')} should have a sum above 0`)
  }
  return whole.map(Number)
}

function magnitude(x: bigint): bigint {
  return x < 0n ? -x : x
}

function greatestCommonDivisor(a: bigint, b: bigint): bigint {
  while (b > 0n) [a, b] = [b, a % b]
  return a
}

/** The unit of weights that are no decimals. */
const UNITS = 2 ** 27

/**
 * Shares that sum up to 1 as whole numbers of 2^-27, which sum up to 2^27: rounded down, and what is missing given to those
 * that lost most. The mean moves by at most 2^-27 of the
 * sum of the members' distances to it.
 */
export function quantizedWeights(shares: readonly number[]): number[] {
  const scaled = shares.map(share => share * UNITS)
  const whole = scaled.map(Math.floor)
  const missing = UNITS - whole.reduce((sum, weight) => sum + weight, 0)
  invariant(missing >= 0 && missing <= shares.length, `shares sum up to ${1 - missing / UNITS}`)
  const byLoss = scaled.map((share, i) => ({ i, loss: share - whole[i]! })).sort((a, b) => b.loss - a.loss)
  for (const { i } of byLoss.slice(0, missing)) whole[i]!++
  const lost = whole.findIndex(weight => weight === 0)
  if (lost >= 0) {
    throw new UsageError(`average: member ${lost + 1} of ${shares.length} would count less than 2^-27`, {
      cure: 'average the last ones only (--last), or decay less',
    })
  }
  const divisor = whole.map(BigInt).reduce(greatestCommonDivisor, 0n)
  return whole.map(weight => weight / Number(divisor))
}
