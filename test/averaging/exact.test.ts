/** Sums and means against exact integer arithmetic. */

import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { canonicalExpansion, growExpansion, roundExpansion } from '../../src/averaging/expansion.ts'
import { roundedQuotient, toUnits } from '../../src/averaging/rational.ts'
import { roundMean, type AveragedDType } from '../../src/averaging/rounding.ts'
import { SumBlock, UnsummableValue } from '../../src/averaging/sum-block.ts'
import { numberToBfloat16, numberToFloat16 } from '../../src/tensor/dtype.ts'
import { Random } from '../../src/util/random.ts'
import { elementOf } from './support/arbitrary.ts'
import { referenceMean, unitsOf } from './support/reference.ts'

const test = suite('averaging: exact')
const SEED = 20260822

const VIEWS = {
  float32: { Bits: Uint32Array, View: Float32Array },
  float16: { Bits: Uint16Array, View: Uint16Array },
  bfloat16: { Bits: Uint16Array, View: Uint16Array },
  float64: { Bits: BigUint64Array, View: Float64Array },
}
const DTYPES = Object.keys(VIEWS) as AveragedDType[]

type View = Float32Array | Float64Array | Uint16Array

function viewOf(patterns: readonly bigint[], dtype: AveragedDType): View {
  if (dtype === 'float64') return new Float64Array(BigUint64Array.from(patterns).buffer)
  const numbers = patterns.map(Number)
  return dtype === 'float32' ? new Float32Array(Uint32Array.from(numbers).buffer) : Uint16Array.from(numbers)
}

function patternsOf(view: View, dtype: AveragedDType): bigint[] {
  const bits = new VIEWS[dtype].Bits(view.buffer as ArrayBuffer)
  return Array.from(bits as ArrayLike<number | bigint>, BigInt)
}

/** Elements of several members: `columns[i][k]` is element i of member k. */
function members(columns: readonly (readonly bigint[])[], dtype: AveragedDType): View[] {
  return columns[0]!.map((_, k) =>
    viewOf(
      columns.map(column => column[k]!),
      dtype,
    ),
  )
}

function meanOf(block: SumBlock, dtype: AveragedDType, total: number, size: number): bigint[] {
  const out = new VIEWS[dtype].View(size)
  block.mean(dtype, total, out)
  return patternsOf(out, dtype)
}

/** Case generator: a dtype, a few elements of each of a few members, weights and an order. */
const cases = fc
  .record({ dtype: fc.constantFrom(...DTYPES), count: fc.integer({ min: 1, max: 12 }) })
  .chain(({ dtype, count }) =>
    fc.record({
      dtype: fc.constant(dtype),
      columns: fc.array(elementOf(dtype, count), { minLength: 1, maxLength: 4 }),
      weights: fc.array(fc.integer({ min: 1, max: 2 ** 24 }), { minLength: count, maxLength: count }),
      order: fc.shuffledSubarray(
        Array.from({ length: count }, (_, i) => i),
        { minLength: count, maxLength: count },
      ),
      cut: fc.integer({ min: 0, max: count }),
      weighted: fc.boolean(),
    }),
  )

test('the mean is the correctly rounded one, in any order and grouping, and so are canonical sums', () => {
  fc.assert(
    fc.property(cases, ({ dtype, columns, weights: drawn, order, cut, weighted }) => {
      const weights = weighted ? drawn : drawn.map(() => 1)
      const total = weights.reduce((a, b) => a + b)
      const views = members(columns, dtype)
      const size = columns.length
      const expected = columns.map(column => referenceMean(column, weights, dtype))

      const straight = new SumBlock(size)
      views.forEach((view, k) => straight.add(dtype, view, weights[k]!))
      assert.equal(meanOf(straight, dtype, total, size), expected)

      // Two groups in another order, each turned into pairs and tail, merged in either order.
      const pairs = new Float64Array(2 * size)
      straight.pairs(pairs)
      const tail = straight.tail()
      const groups = [order.slice(0, cut), order.slice(cut)].map(group => {
        const block = new SumBlock(size)
        for (const k of group) block.add(dtype, views[k]!, weights[k]!)
        const groupPairs = new Float64Array(2 * size)
        block.pairs(groupPairs)
        return { tail: block.tail(), pairs: groupPairs }
      })
      for (const sequence of [groups, [...groups].reverse()]) {
        const merged = new SumBlock(size)
        for (const group of sequence) {
          merged.addPairs(group.pairs)
          group.tail.indices.forEach((i, n) => merged.addAt(i, group.tail.values[n]!))
        }
        assert.equal(meanOf(merged, dtype, total, size), expected)
        const mergedPairs = new Float64Array(2 * size)
        merged.pairs(mergedPairs)
        assert.equal(merged.tail(), tail)
        assert.ok(Buffer.from(mergedPairs.buffer).equals(Buffer.from(pairs.buffer)), 'pairs')
      }

      // The canonical form is the exact sum.
      columns.forEach((column, i) => {
        const exact = column.reduce((sum, p, k) => sum + unitsOf(p, dtype) * BigInt(weights[k]!), 0n)
        const parts = [
          pairs[2 * i]!,
          pairs[2 * i + 1]!,
          ...tail.values.filter((_, n) => tail.indices[n] === i),
        ]
        assert.is(
          parts.reduce((sum, part) => sum + toUnits(part), 0n),
          exact,
        )
      })
    }),
    { numRuns: 6000, seed: SEED },
  )
})
test('elements as checkpoints have them: every dtype, many counts', () => {
  const random = Random.of(SEED)
  for (const dtype of DTYPES) {
    const encode = (x: number): bigint => {
      if (dtype === 'float16') return BigInt(numberToFloat16(x))
      if (dtype === 'bfloat16') return BigInt(numberToBfloat16(x))
      return patternsOf(dtype === 'float32' ? Float32Array.of(x) : Float64Array.of(x), dtype)[0]!
    }
    for (const count of [1, 2, 3, 5, 7, 10, 16, 100]) {
      const columns = Array.from({ length: 200 }, () => {
        const centre = random.normal() * 0.05
        return Array.from({ length: count }, () => encode(centre + random.normal() * 0.01))
      })
      const block = new SumBlock(columns.length)
      for (const view of members(columns, dtype)) block.add(dtype, view, 1)
      const expected = columns.map(column => referenceMean(column, Array<number>(count).fill(1), dtype))
      assert.equal(meanOf(block, dtype, count, columns.length), expected, `${dtype}, ${count} members`)
    }
  }
})

test('roundMean: ties go to even, a low component of the sum breaks them', () => {
  const tie = 1 + 2 ** -24
  assert.is(roundMean([3 * tie], 3, 'float32'), 1)
  assert.is(roundMean([3 * tie, 2 ** -80], 3, 'float32'), 1 + 2 ** -23)
  assert.is(roundMean([-3 * tie, 2 ** -80], 3, 'float32'), -1)
  assert.is(roundMean([-3 * tie, -(2 ** -80)], 3, 'float32'), -1 - 2 ** -23)
  const odd = 1 + 3 * 2 ** -24
  assert.is(roundMean([5 * odd], 5, 'float32'), 1 + 2 ** -22)
  assert.is(roundMean([5 * odd, -(2 ** -80)], 5, 'float32'), 1 + 2 ** -23)
  assert.is(roundMean([2 ** -149], 2, 'float32'), 0)
  assert.is(roundMean([3 * 2 ** -149], 2, 'float32'), 2 ** -148)
  assert.is(roundMean([-(2 ** -149)], 3, 'float32'), -0)
  assert.is(roundMean([2 ** -24, 2 ** -90], 2, 'float16'), 2 ** -24)
  assert.is(roundMean([1 + 2 ** -52, 2 ** -53], 1, 'float64'), 1 + 2 ** -51)
  assert.is(roundMean([1, 2 ** -53, 2 ** -120], 1, 'float64'), 1 + 2 ** -52)
})

test('expansions: growth is exact, rounding is to nearest even, the canonical form is unique', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ noNaN: true, min: -1e300, max: 1e300 }), { maxLength: 12 }), numbers => {
      const grown = numbers.reduce<number[]>((sum, x) => growExpansion(sum, x), [])
      const exact = numbers.reduce((sum, x) => sum + toUnits(x), 0n)
      assert.is(
        grown.reduce((sum, x) => sum + toUnits(x), 0n),
        exact,
      )
      assert.is(roundExpansion(grown) + 0, roundedQuotient(numbers, 1))
      const backwards = [...numbers].reverse().reduce<number[]>((sum, x) => growExpansion(sum, x), [])
      assert.equal(canonicalExpansion(grown), canonicalExpansion(backwards))
      assert.is(canonicalExpansion(grown)[0] ?? 0, roundedQuotient(numbers, 1))
    }),
    { numRuns: 1000, seed: SEED },
  )
})

test('roundedQuotient: ties, subnormal results and the largest numbers', () => {
  assert.is(roundedQuotient([5e-324], 2), 0)
  assert.is(roundedQuotient([5e-324, 1e-323], 2), 1e-323)
  assert.is(roundedQuotient([Number.MAX_VALUE], 1), Number.MAX_VALUE)
  assert.is(roundedQuotient([-1], 3), -1 / 3)
  assert.is(roundedQuotient([1, 2 ** -53], 1), 1)
  assert.is(roundedQuotient([1, 2 ** -52, 2 ** -53], 1), 1 + 2 ** -51)
})

test('a mean of zeros is -0 only when all are, a mean of equals is itself', () => {
  for (const [zeros, expected] of [
    [[-0, -0, -0], -0],
    [[-0, 0, -0], 0],
    [[1, -1, -0], 0],
  ] as const) {
    for (const dtype of ['float32', 'float64'] as const) {
      const { View } = VIEWS[dtype]
      const block = new SumBlock(1)
      for (const zero of zeros) block.add(dtype, View.of(zero), 1)
      const out = new View(1)
      block.mean(dtype, zeros.length, out)
      assert.ok(Object.is(out[0], expected), `${dtype} ${zeros.join()}`)
    }
  }
})

test('NaN, infinities and float64 of 2^990 and above are refused with their index', () => {
  const refusal = (view: View, dtype: AveragedDType, weight: number) => {
    const block = new SumBlock(view.length)
    block.add(dtype, new VIEWS[dtype].View(view.length), 1)
    try {
      block.add(dtype, view, weight)
    } catch (error) {
      if (error instanceof UnsummableValue) return `${error.index}: ${error.value}`
      throw error
    }
    return 'accepted'
  }
  for (const weight of [1, 3]) {
    assert.is(refusal(Float32Array.of(1, NaN, 2), 'float32', weight), '1: NaN')
    assert.is(refusal(Float32Array.of(1, 2, -Infinity), 'float32', weight), '2: -Infinity')
    assert.is(refusal(Float64Array.of(2 ** 990), 'float64', weight), `0: ${2 ** 990}`)
    assert.is(refusal(Float64Array.of(-(2 ** 989)), 'float64', weight), 'accepted')
    assert.is(refusal(Uint16Array.of(0x7c00), 'float16', weight), '0: Infinity')
    assert.is(refusal(Uint16Array.of(0x3c00, 0xff80), 'bfloat16', weight), '1: -Infinity')
    assert.is(refusal(Uint16Array.of(0x7c01), 'float16', weight), '0: NaN')
  }
})

test('a block used again starts empty', () => {
  const block = new SumBlock(2)
  block.add('float32', Float32Array.of(2 ** 127, 2 ** -149), 1)
  block.add('float32', Float32Array.of(2 ** -149, 1), 1)
  block.add('float32', Float32Array.of(1, 2 ** 100), 1)
  block.reset()
  block.add('float32', Float32Array.of(3, 5), 1)
  assert.equal(meanOf(block, 'float32', 2, 2), patternsOf(Float32Array.of(1.5, 2.5), 'float32'))
})

test.run()
