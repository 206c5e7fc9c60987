/** What arrays of targets are taken for: classes, one-hot classes, values. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ArrayDataset, type ArrayDatasetOptions } from '../../src/data/array-dataset.ts'
import { errorOf } from '../support/errors.ts'

function withTargets(
  dims: readonly number[],
  data: readonly number[],
  options: ArrayDatasetOptions & { integer?: boolean } = {},
): ArrayDataset {
  const { integer = false, ...rest } = options
  const x = { name: 'x', dims: [dims[0]!, 1], data: new Float32Array(dims[0]!) }
  return new ArrayDataset('made', [x], { name: 'y', dims, data: Float32Array.from(data), integer }, rest)
}

const ONE_HOT = [0, 0, 1, 0, 1, 0, 0, 0]
const EIGHT = [2, 4]

test('one-hot rows are classes, all of them, and say so', () => {
  const dataset = withTargets(EIGHT, ONE_HOT)
  assert.is(dataset.targetKind, 'class')
  assert.equal([dataset.label(0), dataset.label(1)], [2, 0])
  assert.equal(dataset.classes, ['0', '1', '2', '3'])
  assert.match(
    dataset.notes.join(),
    /made: targets 'y' \[2,4\] are one-hot, taken for classes; --target-kind values/,
  )
})

const rows: readonly [string, number[], readonly number[], 'class' | 'values' | undefined][] = [
  ['one-hot, asked for as values', ONE_HOT, EIGHT, 'values'],
  ['a row of zeros', [0, 0, 0, 0, 1, 0, 0, 0], EIGHT, undefined],
  ['a row of two ones', [1, 0, 1, 0, 1, 0, 0, 0], EIGHT, undefined],
  ['probabilities', [0.5, 0.5, 0, 0, 1, 0, 0, 0], EIGHT, undefined],
  ['floats', [3, 4], [2], undefined],
]
for (const [name, data, dims, targetKind] of rows) {
  test(`${name}: values`, () => {
    const dataset = withTargets(dims, data, targetKind ? { targetKind } : {})
    assert.is(dataset.targetKind, 'values')
    assert.equal(dataset.notes, [])
  })
}

test('whole numbers stored as floats are classes on request', () => {
  const dataset = withTargets([3], [1, 0, 2], { targetKind: 'class' })
  assert.equal([dataset.label(0), dataset.classes], [1, ['0', '1', '2']])
})

test('NaN is refused where it is', async () => {
  const target = await errorOf(() => withTargets([2, 2], [1, 2, 3, NaN]))
  assert.is(target.message, "made: row 1 of 'y' [2,2] holds NaN, expected numbers")
  const x = { name: 'x', dims: [3, 2], data: Float32Array.of(0, 1, 2, 3, NaN, 5) }
  const y = { name: 'y', dims: [3], data: Int32Array.of(0, 1, 2), integer: true }
  const input = await errorOf(() => new ArrayDataset('made', [x], y, {}))
  assert.is(input.message, "made: row 2 of 'x' [3,2] holds NaN, expected numbers")
})

test.run()
