/** The seeded generator: published vectors are not part of the xoshiro paper, so properties and independence are tested. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Random } from '../../src/util/random.ts'

/** A second, BigInt writing of xoshiro128** (Blackman, Vigna 2018), step by step as in the paper's listing. */
function referenceNext(s: bigint[]): bigint {
  const mask = 0xffffffffn
  const rotl = (x: bigint, k: bigint) => ((x << k) | (x >> (32n - k))) & mask
  const result = (rotl((s[1]! * 5n) & mask, 7n) * 9n) & mask
  const t = (s[1]! << 9n) & mask
  s[2]! ^= s[0]!
  s[3]! ^= s[1]!
  s[1]! ^= s[2]!
  s[0]! ^= s[3]!
  s[2]! ^= t
  s[3] = rotl(s[3]!, 11n)
  return result
}

/** SplitMix64, as published: seeds the state. */
function splitmix(key: bigint): bigint {
  const mask = 0xffffffffffffffffn
  let z = (key + 0x9e3779b97f4a7c15n) & mask
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask
  return z ^ (z >> 31n)
}

test('the sequence is that of xoshiro128**', () => {
  const key = splitmix(42n)
  const next = splitmix(key ^ 0x9e3779b97f4a7c15n)
  const state = [key & 0xffffffffn, key >> 32n, next & 0xffffffffn, (next >> 32n) | 1n]
  const random = Random.of(42)
  for (let i = 0; i < 1000; i++) assert.is(random.uint32(), Number(referenceNext(state)))
})

test('streams of one seed differ from each other and from other seeds', () => {
  const first = (random: Random) => random.uint32()
  const numbers = new Set<number>()
  for (let seed = 0; seed < 20; seed++)
    for (let stream = 0; stream < 20; stream++) numbers.add(first(Random.of(seed, stream)))
  assert.is(numbers.size, 400)
})

test('integers are uniform', () => {
  const random = Random.of(1)
  const counts = new Array<number>(7).fill(0)
  for (let i = 0; i < 70_000; i++) counts[random.integer(7)]!++
  // Chi-square with 6 degrees of freedom: 22.5 is the 99.9 % quantile.
  const chi = counts.reduce((sum, count) => sum + (count - 10_000) ** 2 / 10_000, 0)
  assert.ok(chi < 22.5, `chi-square ${chi}`)
})

test('normal numbers have mean 0 and variance 1', () => {
  const random = Random.of(3)
  let sum = 0
  let squares = 0
  const n = 100_000
  for (let i = 0; i < n; i++) {
    const value = random.normal()
    sum += value
    squares += value * value
  }
  assert.ok(Math.abs(sum / n) < 5 / Math.sqrt(n))
  assert.ok(Math.abs(squares / n - 1) < 5 * Math.sqrt(2 / n))
})

test('a permutation holds each index once and is the same for the same seed', () => {
  const order = Random.of(9, 2).permutation(1000)
  assert.equal(
    [...order].sort((a, b) => a - b),
    [...Array(1000).keys()],
  )
  assert.equal(order, Random.of(9, 2).permutation(1000))
  assert.not.equal(order, Random.of(9, 3).permutation(1000))
})

test.run()
