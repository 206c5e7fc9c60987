/** Sums and means against exact integer arithmetic. */

import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { canonicalExpansion, growExpansion, roundExpansion } from '../../src/averaging/expansion.ts'
import { roundedQuotient, toUnits } from '../../src/averaging/rational.ts'
import { viewOf, widthOf, type Elements } from '../../src/averaging/elements.ts'
import { RangeSum } from '../../src/averaging/range-sum.ts'
import { FORMATS, roundMean, type AveragedDType } from '../../src/averaging/rounding.ts'
import { SumBlock, UnsummableValue } from '../../src/averaging/sum-block.ts'
import { numberToBfloat16, numberToFloat16 } from '../../src/tensor/dtype.ts'
import { encodeFloat8 } from '../../src/tensor/float8.ts'
import { Random } from '../../src/util/random.ts'
import { elementOf } from './support/arbitrary.ts'
import { referenceMean, unitsOf } from './support/reference.ts'

const test = suite('averaging: exact')
const SEED = 20260822
const VECTOR = [new RangeSum(), new RangeSum(), new RangeSum()]
const PLAIN = [new RangeSum(null), new RangeSum(null)]

const DTYPES = Object.keys(FORMATS) as AveragedDType[]

/** Bit patterns as packed bytes. */
function bytesOf(patterns: readonly bigint[], dtype: AveragedDType): Uint8Array {
  const width = widthOf(dtype)
  const bytes = new Uint8Array(patterns.length * width)
  patterns.forEach((pattern, i) => {
    for (let k = 0; k < width; k++) bytes[i * width + k] = Number((pattern >> BigInt(8 * k)) & 0xffn)
  })
  return bytes
}

function patternsOf(bytes: Uint8Array, dtype: AveragedDType): bigint[] {
  const width = widthOf(dtype)
  return Array.from({ length: bytes.byteLength / width }, (_, i) =>
    bytes.subarray(i * width, (i + 1) * width).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n),
  )
}

/** Elements of several members: `columns[i][k]` is element i of member k. */
function members(columns: readonly (readonly bigint[])[], dtype: AveragedDType): Uint8Array[] {
  return columns[0]!.map((_, k) =>
    bytesOf(
      columns.map(column => column[k]!),
      dtype,
    ),
  )
}

function meanOf(block: SumBlock, dtype: AveragedDType, total: number, size: number): bigint[] {
  const out = new Uint8Array(size * widthOf(dtype))
  block.mean(dtype, total, viewOf(dtype, out))
  return patternsOf(out, dtype)
}

/** As threads do it: ranges of any size, members in one request or in several, by any of a few workers. */
function meanByRanges(
  workers: readonly RangeSum[],
  { dtype, total, weights, cut, step }: Ranges,
  members: readonly Uint8Array[],
): bigint[] {
  const width = widthOf(dtype)
  const size = members[0]!.byteLength / width
  const patterns: bigint[] = []
  for (let start = 0, k = cut; start < size; start += step, k++) {
    const count = Math.min(step, size - start)
    const summands = members.map((bytes, m) => {
      const place = { bytes: bytes.slice(start * width, (start + count) * width) }
      return { kind: 'elements' as const, weight: weights[m]!, place }
    })
    const finish = { kind: 'mean' as const, total, beyond: false, out: new SharedArrayBuffer(count * width) }
    const request = { dtype, count, hash: false, nonfinite: 'refuse' as const }
    const worker = workers[k % workers.length]!
    const parts = [summands.slice(0, cut), summands.slice(cut)].filter(part => part.length > 0)
    parts.forEach((part, i) => {
      const last = i === parts.length - 1
      const { refused } = worker.run({
        ...request,
        summands: part,
        first: i === 0,
        finish: last ? finish : null,
      })
      assert.is(refused, null)
    })
    patterns.push(...patternsOf(new Uint8Array(finish.out), dtype))
  }
  return patterns
}

interface Ranges {
  readonly dtype: AveragedDType
  readonly total: number
  readonly weights: readonly number[]
  /** Members in the first request. */
  readonly cut: number
  /** Elements of a range. */
  readonly step: number
}

/** Case generator: a dtype, a few elements of each of a few members, weights and an order. */
const cases = fc
  .record({ dtype: fc.constantFrom(...DTYPES), count: fc.integer({ min: 1, max: 20 }) })
  .chain(({ dtype, count }) =>
    fc.record({
      dtype: fc.constant(dtype),
      columns: fc.array(elementOf(dtype, count), { minLength: 1, maxLength: 11 }),
      weights: fc.array(fc.integer({ min: 1, max: 2 ** 24 }), { minLength: count, maxLength: count }),
      order: fc.shuffledSubarray(
        Array.from({ length: count }, (_, i) => i),
        { minLength: count, maxLength: count },
      ),
      cut: fc.integer({ min: 0, max: count }),
      step: fc.integer({ min: 1, max: 12 }),
      weighted: fc.boolean(),
    }),
  )

test('the mean is the correctly rounded one, in any order and grouping, and so are canonical sums', () => {
  fc.assert(
    fc.property(cases, ({ dtype, columns, weights: drawn, order, cut, step, weighted }) => {
      const weights = weighted ? drawn : drawn.map(() => 1)
      const total = weights.reduce((a, b) => a + b)
      const bytes = members(columns, dtype)
      const views = bytes.map(member => viewOf(dtype, member))
      const size = columns.length
      const expected = columns.map(column => referenceMean(column, weights, dtype))

      const straight = new SumBlock(size)
      views.forEach((view, k) => straight.add(dtype, view, weights[k]!))
      assert.equal(meanOf(straight, dtype, total, size), expected)

      const ranges = { dtype, total, cut, step, weights: order.map(k => weights[k]!) }
      const ordered = order.map(k => bytes[k]!)
      assert.equal(meanByRanges(VECTOR, ranges, ordered), expected, 'vector kernels')
      assert.equal(meanByRanges(PLAIN, ranges, ordered), expected, 'plain kernels')

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
    { numRuns: 10_000, seed: SEED },
  )
})
test('elements as checkpoints have them: every dtype, many counts', () => {
  const random = Random.of(SEED)
  for (const dtype of DTYPES) {
    const encode = (x: number): bigint => {
      if (dtype === 'float16') return BigInt(numberToFloat16(x))
      if (dtype === 'bfloat16') return BigInt(numberToBfloat16(x))
      if (dtype === 'float32' || dtype === 'float64') {
        const { buffer } = dtype === 'float32' ? Float32Array.of(x) : Float64Array.of(x)
        return patternsOf(new Uint8Array(buffer), dtype)[0]!
      }
      return BigInt(encodeFloat8(dtype, roundMean([x], 1, dtype)))
    }
    for (const count of [1, 2, 3, 5, 7, 10, 16, 100]) {
      const columns = Array.from({ length: 200 }, () => {
        const centre = random.normal() * 0.05
        return Array.from({ length: count }, () => encode(centre + random.normal() * 0.01))
      })
      const block = new SumBlock(columns.length)
      for (const member of members(columns, dtype)) block.add(dtype, viewOf(dtype, member), 1)
      const expected = columns.map(column => referenceMean(column, Array<number>(count).fill(1), dtype))
      assert.equal(meanOf(block, dtype, count, columns.length), expected, `${dtype}, ${count} members`)
      const ranges = { dtype, total: count, weights: Array<number>(count).fill(1), cut: 0, step: 137 }
      assert.equal(
        meanByRanges(VECTOR, ranges, members(columns, dtype)),
        expected,
        `${dtype}, ${count}, vectors`,
      )
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
      const View = dtype === 'float32' ? Float32Array : Float64Array
      const block = new SumBlock(1)
      for (const zero of zeros) block.add(dtype, View.of(zero), 1)
      const out = new View(1)
      block.mean(dtype, zeros.length, out)
      assert.ok(Object.is(out[0], expected), `${dtype} ${zeros.join()}`)
    }
  }
})

test('NaN, infinities and float64 of 2^990 and above are refused with their index', () => {
  const refusal = (view: Elements, dtype: AveragedDType, weight: number) => {
    const block = new SumBlock(view.length)
    block.add(dtype, viewOf(dtype, new Uint8Array(view.byteLength)), 1)
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
    assert.is(refusal(Uint8Array.of(0x7e, 0x7f), 'float8e4m3fn', weight), '1: NaN')
    assert.is(refusal(Uint8Array.of(0x7b, 0xfc), 'float8e5m2', weight), '1: -Infinity')
    assert.is(refusal(Uint8Array.of(0x7f, 0x80), 'float8e4m3fnuz', weight), '1: NaN')
  }
})

test('a block used again starts empty', () => {
  const block = new SumBlock(2)
  block.add('float32', Float32Array.of(2 ** 127, 2 ** -149), 1)
  block.add('float32', Float32Array.of(2 ** -149, 1), 1)
  block.add('float32', Float32Array.of(1, 2 ** 100), 1)
  block.reset(2)
  block.add('float32', Float32Array.of(3, 5), 1)
  const expected = new Uint8Array(Float32Array.of(1.5, 2.5).buffer)
  assert.equal(meanOf(block, 'float32', 2, 2), patternsOf(expected, 'float32'))
})

test.run()
