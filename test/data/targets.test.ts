/** What arrays of targets are taken for: classes, one-hot classes, values; several targets, and which output is whose. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ArrayDataset, type ArrayDatasetOptions } from '../../src/data/array-dataset.ts'
import { classCounts } from '../../src/data/dataset.ts'
import { selectClasses, subset } from '../../src/data/subset.ts'
import { targetFor, targetTensors } from '../../src/data/targets.ts'
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
  assert.is(dataset.targets[0]!.kind, 'class')
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
    assert.is(dataset.targets[0]!.kind, 'values')
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

test('a class for each element, none where the number of no class stands', async () => {
  const tags = [1, 0, -100, 2, 2, -100]
  const dataset = withTargets([2, 3], tags, { targetKind: 'class', integer: true })
  assert.equal(dataset.targets, [{ name: '0', kind: 'class', dims: [3], classes: ['0', '1', '2'] }])
  assert.equal([dataset.label(1), dataset.target(1)], [null, Int32Array.of(2, 2, -100)])
  assert.equal(classCounts(dataset), [])
  const tensor = targetTensors(dataset, Uint32Array.of(1, 0)).get('0')!
  assert.equal([tensor.dtype, tensor.dims, tensor.toNumbers()], ['int64', [2, 3], [2, 2, -100, 1, 0, -100]])
  const masks = withTargets([2, 3], [1, 0, 255, 2, 2, 255], { targetKind: 'class', ignoreIndex: 255 })
  assert.equal(masks.classes, ['0', '1', '2'])
  const error = await errorOf(() => withTargets([2, 3], [1, 0, -1, 2, 2, 0], { targetKind: 'class' }))
  assert.is(
    error.message,
    "made: label -1 in row 0 of 'y': expected a class index from 0 to 99999, or -100 where there is none",
  )
})

test('yes or no for each class', async () => {
  const dataset = withTargets([2, 3], [1, 0, 1, 0, 0, 0], { targetKind: 'multilabel' })
  assert.equal(dataset.targets[0]!.classes, ['0', '1', '2'])
  assert.equal(dataset.target(0), Float32Array.of(1, 0, 1))
  const error = await errorOf(() => withTargets([2, 2], [1, 0, 2, 0], { targetKind: 'multilabel' }))
  assert.is(error.message, "made: 2 in row 1 of 'y': expected 1 for each class that the sample has, and 0")
})

/** Rows 0, 1, 2 with a class and a box. */
function withTwoTargets(): ArrayDataset {
  const kind = {
    name: 'kind',
    dims: [3],
    data: Int32Array.of(1, 0, 1),
    integer: true,
    classNames: ['a', 'b'],
  }
  const box = { name: 'box', dims: [3, 2], data: Float32Array.of(0, 1, 2, 3, 4, 5), integer: false }
  return new ArrayDataset('made', [{ name: '0', dims: [3], data: new Float32Array(3) }], [kind, box], {})
}

test('several targets keep their names, kinds and rows; the first is the main one', () => {
  const dataset = selectClasses(subset(withTwoTargets(), [2, 1, 0]), ['b'])
  assert.equal(dataset.targets, [
    { name: 'kind', kind: 'class', dims: [], classes: ['b'] },
    { name: 'box', kind: 'values', dims: [2], classes: null },
  ])
  assert.equal([dataset.length, dataset.label(1), dataset.target(1)], [2, 0, 0])
  const tensors = targetTensors(dataset, Uint32Array.of(0, 1))
  assert.equal(
    [...tensors].map(([name, { dtype, dims, ...rest }]) => [name, dtype, dims, rest.data.length]),
    [
      ['kind', 'int64', [2], 16],
      ['box', 'float32', [2, 2], 16],
    ],
  )
  assert.equal(tensors.get('box')!.toNumbers(), [4, 5, 0, 1])
})

test('a target belongs to the output of its name, of its position, or to any if it is alone and has no name', async () => {
  const outputs = ['scores', 'boxes']
  const of = (names: readonly string[], output: string) =>
    targetFor(new Map(names.map(name => [name, name])), output, outputs)
  assert.is(of(['boxes', 'scores'], 'boxes'), 'boxes')
  assert.is(of(['0', '1'], 'boxes'), '1')
  assert.is(of(['0'], 'boxes'), '0')
  const error = await errorOf(() => of(['kind', 'box'], 'boxes'))
  assert.is(
    error.message,
    'data: no target is called "boxes", which is the model output, found "kind", "box"',
  )
})

test.run()
