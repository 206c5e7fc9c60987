/** Members that make averaging hard: cancellation, far exponents, subnormals, signed zeros, near-ties. */

import fc from 'fast-check'
import type { AveragedDType } from '../../../src/averaging/rounding.ts'
import { infinityOf, negate, signBitOf } from './reference.ts'

/** float64 elements of 2^990 and above are refused by design. */
function largest(dtype: AveragedDType): bigint {
  return dtype === 'float64' ? BigInt(1023 + 989) << 52n : infinityOf(dtype) - 1n
}

/** A finite bit pattern. */
function finite(dtype: AveragedDType): fc.Arbitrary<bigint> {
  const max = largest(dtype)
  const magnitude = fc.oneof(
    { weight: 6, arbitrary: fc.bigInt({ min: 0n, max }) },
    { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: 8n }) },
    { weight: 1, arbitrary: fc.bigInt({ min: max - 8n, max }) },
    { weight: 1, arbitrary: fc.constant(0n) },
  )
  return fc.tuple(magnitude, fc.boolean()).map(([m, negative]) => (negative ? negate(m, dtype) : m))
}

function opposite(pattern: bigint, dtype: AveragedDType): bigint {
  return pattern & signBitOf(dtype) ? pattern ^ signBitOf(dtype) : negate(pattern, dtype)
}

/** One element of every member, as bit patterns. */
export function elementOf(dtype: AveragedDType, members: number): fc.Arbitrary<bigint[]> {
  const any = fc.array(finite(dtype), { minLength: members, maxLength: members })
  // Neighbours of one value: sums with few bits, many exact ties and near-ties.
  const near = fc
    .tuple(
      finite(dtype),
      fc.array(fc.bigInt({ min: 0n, max: 3n }), { minLength: members, maxLength: members }),
    )
    .map(([base, steps]) => {
      const sign = base & signBitOf(dtype)
      const magnitude = base ^ sign
      return steps.map(step => {
        const moved = magnitude + step > largest(dtype) ? magnitude : magnitude + step
        return sign === 0n ? moved : negate(moved, dtype)
      })
    })
  // Every second one takes back the one before, up to a tiny rest.
  const cancelling = any.map(patterns =>
    patterns.map((p, i) => (i % 2 ? opposite(patterns[i - 1]!, dtype) : p)),
  )
  const cancellingAlmost = fc
    .tuple(cancelling, finite(dtype))
    .map(([patterns, last]) => [...patterns.slice(0, -1), last])
  // A tie of large numbers broken by one that is far smaller.
  const broken = fc.tuple(near, finite(dtype)).map(([patterns, last]) => [...patterns.slice(0, -1), last])
  return fc.oneof(any, near, cancelling, cancellingAlmost, broken)
}
