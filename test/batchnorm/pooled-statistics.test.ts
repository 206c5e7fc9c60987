import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { PooledStatistics } from '../../src/batchnorm/index.ts'
import { Random } from '../../src/util/random.ts'
import { assertClose } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'

/** Mean and sum of squared distances of one channel's values. */
function moments(values: readonly number[]): { mean: number; m2: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  return { mean, m2: values.reduce((sum, value) => sum + (value - mean) ** 2, 0) }
}

function pool(batches: readonly (readonly number[])[]): PooledStatistics {
  const statistics = new PooledStatistics(1)
  for (const batch of batches) {
    const { mean, m2 } = moments(batch)
    statistics.add([mean], [m2], batch.length)
  }
  return statistics
}

const GOLDEN = [
  [1, 2, 3, 4],
  [5, 6, 7, 8],
  [9, 10],
]

test('golden vectors of facts/averaging.md', () => {
  const statistics = pool(GOLDEN)
  const torch = statistics.result('torch')
  assertClose([torch.mean[0]!, torch.variance[0]!], [37 / 6, 23 / 18], { relative: 1e-15 }, 'torch')
  const exact = statistics.result('exact')
  assertClose([exact.mean[0]!, exact.variance[0]!], [5.5, 82.5 / 9], { relative: 1e-15 }, 'exact')
  assertClose([(exact.variance[0]! * 9) / 10], [8.25], { relative: 1e-15 }, 'population')
  assert.is(statistics.count, 10)
  assert.is(statistics.batches, 3)
})

test('any cut of the data gives the statistics of all of it', () => {
  const random = Random.of(3)
  const values = Array.from({ length: 1000 }, () => 1e6 + random.normal())
  const { mean, m2 } = moments(values)
  for (const size of [2, 7, 64, 999, 1000]) {
    const batches: number[][] = []
    for (let i = 0; i < values.length; i += size) batches.push(values.slice(i, i + size))
    if (batches.at(-1)!.length === 1) batches.at(-2)!.push(batches.pop()![0]!)
    const { mean: pooled, variance } = pool(batches).result('exact')
    assertClose([...pooled, ...variance], [mean, m2 / 999], { relative: 1e-10 }, `batches of ${size}`)
  }
})

test('merging equals adding', () => {
  const whole = pool(GOLDEN)
  const first = pool(GOLDEN.slice(0, 1))
  first.merge(pool(GOLDEN.slice(1)))
  first.merge(new PooledStatistics(1))
  for (const mode of ['torch', 'exact'] as const) {
    const [a, b] = [first.result(mode), whole.result(mode)]
    assertClose([...a.mean, ...a.variance], [...b.mean, ...b.variance], { relative: 1e-15 }, mode)
  }
  assert.is(first.count, 10)
  assert.is(first.batches, 3)
})

test('nothing seen is an error', async () => {
  const error = await errorOf(() => new PooledStatistics(2).result('exact'))
  assert.is(error.message, 'batch normalization: no batch was seen')
})

test('a batch without a variance is our bug', async () => {
  const error = await errorOf(() => new PooledStatistics(1).add([1], [0], 1))
  assert.is(error.message, 'internal: a batch of 1 values has no variance')
})

test.run()
