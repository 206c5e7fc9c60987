/** Soups against plain searches of the same score tables. */

import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { findSoup } from '../../src/eval/soup.ts'
import { errorOf } from '../support/errors.ts'

const test = suite('eval: soup')

/** A score for each subset, from a table by bit mask. */
const scorer = (table: readonly number[]) => {
  const asked: number[] = []
  const measure = (members: readonly number[]) => {
    const mask = members.reduce((sum, k) => sum | (1 << k), 0)
    asked.push(mask)
    return Promise.resolve(table[mask]!)
  }
  return { asked, measure }
}

/** The algorithm of the paper, written down once more over bit masks. */
function greedyOf(table: readonly number[], count: number): number {
  const singles = Array.from({ length: count }, (_, k) => 1 << k)
  const ranked = singles.sort((a, b) => table[b]! - table[a]!)
  return ranked
    .slice(1)
    .reduce((soup, one) => (table[soup | one]! > table[soup]! ? soup | one : soup), ranked[0]!)
}

const tables = fc
  .integer({ min: 2, max: 6 })
  .chain(count =>
    fc.tuple(fc.constant(count), fc.array(fc.nat(1000), { minLength: 2 ** count, maxLength: 2 ** count })),
  )

test('greedy is that of the paper, and never worse than the best single member', () =>
  fc.assert(
    fc.asyncProperty(tables, async ([count, table]) => {
      const { measure, asked } = scorer(table)
      const soup = await findSoup('greedy', count, measure)
      assert.is(soup.score, Math.max(table[greedyOf(table, count)]!, ...asked.map(mask => table[mask]!)))
      assert.ok(Array.from({ length: count }, (_, k) => table[1 << k]!).every(score => score <= soup.score))
      assert.is(new Set(asked).size, asked.length, 'nothing is measured twice')
    }),
    { numRuns: 300, seed: 3 },
  ))

test('best is the best of all subsets, up to eight members', () =>
  fc.assert(
    fc.asyncProperty(tables, async ([count, table]) => {
      const soup = await findSoup('best', count, scorer(table).measure)
      assert.is(soup.score, Math.max(...table.slice(1)))
    }),
    { numRuns: 200, seed: 4 },
  ))

test('with more members no single change makes it better', async () => {
  const count = 10
  const table = Array.from({ length: 2 ** count }, (_, mask) => (Math.imul(mask, 2654435761) >>> 8) % 100_000)
  const { measure } = scorer(table)
  const { members, score } = await findSoup('best', count, measure)
  for (let k = 0; k < count; k++) {
    const mask = members.reduce((sum, m) => sum | (1 << m), 0) ^ (1 << k)
    if (mask) assert.ok(table[mask]! <= score)
  }
  assert.match((await errorOf(findSoup('best', 1, measure))).message, /2 or more members, found 1/)
})

test.run()
