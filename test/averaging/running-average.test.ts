/** The average of training: exact, resumable, mergeable, the same bytes in any order and grouping. */

import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import fc from 'fast-check'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { mergePartials, runAverage } from '../../src/averaging/average.ts'
import { planAverage } from '../../src/averaging/plan.ts'
import { RunningAverage, type Snapshot } from '../../src/averaging/running-average.ts'
import { writeSafetensors } from '../../src/serde/index.ts'
import { BLOCK } from '../../src/averaging/sum-block.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { errorOf } from '../support/errors.ts'
import { elementOf } from './support/arbitrary.ts'
import { withFolder } from './support/folder.ts'
import { referenceMean } from './support/reference.ts'

const test = suite('averaging: running average')

const OPTIONS = {
  segments: [
    { name: 'conv.weight', shape: [2, 2], offset: 0, size: 4 },
    { name: 'conv.bias', shape: [2], offset: 4, size: 2 },
  ],
  fingerprint: 'f'.repeat(64),
}

function snapshotOf(theta: ArrayLike<number>, statistic = 1, counter = 0n): Snapshot {
  return {
    theta: Float32Array.from(theta),
    buffers: new Map([
      ['bn.running_mean', Tensor.of('float64', [1], [statistic])],
      ['bn.num_batches_tracked', Tensor.of('int64', [], [counter])],
    ]),
  }
}

const member = (ordinal: number, weight = 1) => ({ name: `step-${ordinal}`, ordinal, weight })

test('means of parameters and float buffers; counters of the last member', () => {
  const average = new RunningAverage(OPTIONS)
  average.add(snapshotOf([1, 2, 3, 4, 5, 6], 1, 10n), member(10))
  average.add(snapshotOf([2, 2, 3, 4, 5, 7], 2, 30n), member(30))
  average.add(snapshotOf([6, 2, 3, 4, 5, 8], 6, 20n), member(20))
  const { theta, buffers } = average.mean()
  assert.equal([...theta], [3, 2, 3, 4, 5, 7])
  assert.equal(buffers.get('bn.running_mean')!.toNumbers(), [3])
  assert.equal(buffers.get('bn.num_batches_tracked')!.toNumbers(), [30])
  assert.equal(
    average.members.map(({ name, ordinal, weight }) => [name, ordinal, weight]),
    [
      ['step-10', 10, 1],
      ['step-30', 30, 1],
      ['step-20', 20, 1],
    ],
  )
})

test('golden vector: the running mean of 1, 2, 4, 8', () => {
  const average = new RunningAverage({
    segments: [{ name: 'w', shape: [], offset: 0, size: 1 }],
    fingerprint: '',
  })
  const means = [1, 2, 4, 8].map((x, k) => {
    average.add({ theta: Float32Array.of(x), buffers: new Map() }, member(k))
    return average.mean().theta[0]!
  })
  assert.equal(means, [1, 1.5, Math.fround(7 / 3), 3.75])
})

test('what the caller does with its vectors afterwards changes nothing', () => {
  const average = new RunningAverage(OPTIONS)
  const snapshot = snapshotOf([1, 2, 3, 4, 5, 6], 1, 10n)
  average.add(snapshot, member(0))
  snapshot.theta.fill(9)
  ;(snapshot.buffers.get('bn.num_batches_tracked')!.data as Uint8Array).fill(9)
  const { theta, buffers } = average.mean()
  assert.equal([...theta], [1, 2, 3, 4, 5, 6])
  assert.equal(buffers.get('bn.num_batches_tracked')!.toNumbers(), [10])
})

const cases = fc.integer({ min: 1, max: 7 }).chain(count =>
  fc.record({
    columns: fc.array(elementOf('float32', count), { minLength: 6, maxLength: 6 }),
    statistics: elementOf('float64', count),
    weights: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: count, maxLength: count }),
    order: fc.shuffledSubarray(
      Array.from({ length: count }, (_, i) => i),
      { minLength: count },
    ),
    groups: fc.array(fc.integer({ min: 0, max: 2 }), { minLength: count, maxLength: count }),
  }),
)

test('any order and grouping, with saving and loading in between, gives the same bytes', async () => {
  await withFolder(async file => {
    let run = 0
    await fc.assert(
      fc.asyncProperty(cases, async ({ columns, statistics, weights, order, groups }) => {
        run++
        const snapshots = weights.map((_, k): Snapshot => {
          const bits = Uint32Array.from(columns, column => Number(column[k]!))
          const statistic = new Float64Array(BigUint64Array.of(statistics[k]!).buffer)
          // The counter makes members differ whose weights are equal.
          const buffers = new Map([
            ['bn.running_mean', Tensor.of('float64', [1], statistic)],
            ['bn.num_batches_tracked', Tensor.of('int64', [], [BigInt(k)])],
          ])
          return { theta: new Float32Array(bits.buffer), buffers }
        })
        // 1. All at once.
        const whole = new RunningAverage(OPTIONS)
        snapshots.forEach((snapshot, k) => whole.add(snapshot, member(k, weights[k])))
        await whole.save(file(`${run}-whole`))
        const expected = await readFile(file(`${run}-whole`))
        const bits = new Uint32Array(whole.mean().theta.buffer as ArrayBuffer)
        const reference = columns.map(column => Number(referenceMean(column, weights, 'float32')))
        assert.equal([...bits], reference)

        // 2. In another order, saved and loaded in the middle.
        let resumed = new RunningAverage(OPTIONS)
        for (const [i, k] of order.entries()) {
          if (i === Math.floor(order.length / 2) && i > 0) {
            await resumed.save(file(`${run}-half`))
            resumed = await RunningAverage.load(file(`${run}-half`), OPTIONS)
          }
          resumed.add(snapshots[k]!, member(k, weights[k]))
        }
        await resumed.save(file(`${run}-resumed`))
        assert.ok(expected.equals(await readFile(file(`${run}-resumed`))), 'resumed')

        // 3. By several workers, merged.
        const parts: string[] = []
        for (const group of [0, 1, 2]) {
          const mine = order.filter(k => groups[k] === group)
          if (mine.length === 0) continue
          const part = new RunningAverage(OPTIONS)
          for (const k of mine) part.add(snapshots[k]!, member(k, weights[k]))
          await part.save(file(`${run}-part-${group}`))
          parts.push(file(`${run}-part-${group}`))
        }
        await mergePartials(parts, file(`${run}-merged`))
        assert.ok(expected.equals(await readFile(file(`${run}-merged`))), 'merged')
      }),
      { numRuns: 40, seed: 7 },
    )
  })
})

test('a snapshot file is known to be in the average of its run; another one is added', async () => {
  await withFolder(async file => {
    const average = new RunningAverage(OPTIONS)
    const write = async (path: string, { theta, buffers }: Snapshot) => {
      const parameters = OPTIONS.segments.map(({ name, shape, offset, size }) => {
        return [name, Tensor.of('float32', shape, theta.slice(offset, offset + size))] as const
      })
      await writeSafetensors(path, [...parameters, ...buffers])
    }
    const [first, second] = [snapshotOf([1, 2, 3, 4, 5, 6], 1, 1n), snapshotOf([3, 2, 1, 4, 5, 6], 3, 2n)]
    average.add(first, member(1))
    await average.save(file('average'))
    await write(file('step-1.safetensors'), first)
    await write(file('step-2.safetensors'), second)
    const twice = await planAverage([file('average'), file('step-1.safetensors')])
    const error = await errorOf(runAverage(twice, file('both'), { as: 'partial' }))
    assert.not.ok(existsSync(file('both')))
    assert.match(error.message, /step-1\.safetensors has the same weights as step-1 in .*average/)
    const plan = await planAverage([file('average'), file('step-2.safetensors')])
    await runAverage(plan, file('both'), { as: 'partial' })
    average.add(second, { name: 'step-2.safetensors', ordinal: 2 })
    await average.save(file('expected'))
    assert.ok((await readFile(file('expected'))).equals(await readFile(file('both'))))
  })
})

test('a long vector: sums that need a tail, in a later block, survive saving', async () => {
  await withFolder(async file => {
    const size = BLOCK + 1000
    const options = { segments: [{ name: 'w', shape: [size], offset: 0, size }], fingerprint: '' }
    const at = BLOCK + 77
    const snapshot = (x: number) => {
      const theta = new Float32Array(size).fill(3)
      theta[at] = x
      return { theta, buffers: new Map<string, Tensor>() }
    }
    const whole = new RunningAverage(options)
    const terms = [2 ** 127, 2 ** -149, 1, 2 ** 60]
    terms.forEach((x, k) => whole.add(snapshot(x), member(k)))
    await whole.save(file('average'))
    const loaded = await RunningAverage.load(file('average'), options)
    terms.forEach((x, k) => loaded.add(snapshot(x === 2 ** -149 ? 2 ** -148 : -x), member(10 + k)))
    const { theta } = loaded.mean()
    assert.is(theta[at], 0) // 3 · 2^-149 / 8 is below half the smallest float32
    assert.is(theta[at - 1], 3)
    loaded.add(snapshot(2 ** -147), member(20))
    assert.is(loaded.mean().theta[at], 2 ** -149) // 7 · 2^-149 / 9
  })
})

test('a snapshot that is refused changes nothing', async () => {
  const average = new RunningAverage(OPTIONS)
  average.add(snapshotOf([1, 2, 3, 4, 5, 6]), member(0))
  const refused = async (snapshot: Snapshot, weight = 1) =>
    (await errorOf(() => average.add(snapshot, member(1, weight)))).message
  assert.is(
    await refused(snapshotOf([1, 2, 3, 4, 5, NaN])),
    'average: snapshot step-1: tensor "conv.bias" float32[2], element 1: expected a finite number, found NaN',
  )
  assert.is(
    await refused(snapshotOf([1, 2, 3, 4, 5, 6], Infinity)),
    'average: snapshot step-1: tensor "bn.running_mean" float64[1], element 0: expected a finite number, found Infinity',
  )
  assert.match(
    await refused(snapshotOf([1, 2, 3, 4, 5, 6])),
    /^average: step-1 has the same weights as step-0 \(digest [0-9a-f]{12}\.\.\.\)$/,
  )
  assert.is(await refused(snapshotOf([1, 2, 3])), 'average: expected a vector of 6 parameters, found 3')
  assert.is(
    await refused(snapshotOf([1, 2, 3, 4, 5, 7]), 0.5),
    'average: snapshot step-1: expected a whole weight, found 0.5',
  )
  assert.is(
    await refused({ theta: new Float32Array(6), buffers: new Map() }),
    'average: buffer "bn.running_mean": expected float64[1], found nothing',
  )
  assert.equal([...average.mean().theta], [1, 2, 3, 4, 5, 6])
  assert.is(average.members.length, 1)
})

test('an average without snapshots, of another graph or of other parameters is refused', async () => {
  await withFolder(async file => {
    const empty = new RunningAverage(OPTIONS)
    assert.is((await errorOf(() => empty.mean())).message, 'average: no snapshot was added yet')
    assert.is((await errorOf(empty.save(file('x')))).message, 'average: no snapshot was added yet')
    empty.add(snapshotOf([1, 2, 3, 4, 5, 6]), member(0))
    await empty.save(file('x'))
    const other = { ...OPTIONS, fingerprint: 'e'.repeat(64) }
    assert.match(
      (await errorOf(RunningAverage.load(file('x'), other))).message,
      /is of another graph: expected fingerprint e{64}, found f{64}$/,
    )
    const narrow = { ...OPTIONS, segments: [{ name: 'conv.weight', shape: [4], offset: 0, size: 4 }] }
    assert.match(
      (await errorOf(RunningAverage.load(file('x'), narrow))).message,
      /parameter "conv\.weight": expected float32\[4\], found float32\[2,2\]$/,
    )
  })
})

test('partials of one member, or of two graphs, do not merge', async () => {
  await withFolder(async file => {
    const save = async (name: string, theta: number[], ordinal: number, options = OPTIONS) => {
      const average = new RunningAverage(options)
      average.add(snapshotOf(theta), member(ordinal))
      await average.save(file(name))
      return file(name)
    }
    const a = await save('a', [1, 2, 3, 4, 5, 6], 1)
    const same = await save('same', [1, 2, 3, 4, 5, 6], 2)
    const other = await save('other', [1, 2, 3, 4, 5, 7], 3, { ...OPTIONS, fingerprint: '0'.repeat(64) })
    assert.match((await errorOf(mergePartials([a, same], file('out')))).message, /same weights as step-1 in/)
    assert.match((await errorOf(mergePartials([a, a], file('out')))).message, /same weights as step-1 in/)
    assert.match((await errorOf(mergePartials([a, other], file('out')))).message, /belongs to another graph/)
  })
})

test.run()
