/** Parts of data sets: rows, classes, balanced limits, stratified splits. */

import fc from 'fast-check'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ArrayDataset } from '../../src/data/array-dataset.ts'
import { classCounts, summarizeDataset, type Dataset } from '../../src/data/dataset.ts'
import { fingerprintDataset } from '../../src/data/fingerprint.ts'
import { limitDataset, selectClasses, splitDataset, subset } from '../../src/data/subset.ts'
import { assertFails } from './files.ts'
import { Fetched, images, labelled } from './make.ts'

/** The rows of `labelled` that a part holds. */
function rowsOf(dataset: Dataset): number[] {
  const { inputs, rows } = dataset.columns!
  return Array.from({ length: dataset.length }, (_, i) => inputs[0]![rows ? rows[i]! : i]!)
}

const base = labelled([0, 1, 2, 0, 1, 2, 0, 0, 0, 0])

test('a subset of a subset keeps inputs, labels and names together', async () => {
  const part = subset(subset(base, [9, 2, 5, 4]), [3, 1])
  assert.equal(rowsOf(part), [4, 2])
  assert.equal([part.label(0), part.label(1)], [1, 2])
  assert.is(part.sampleName(0), 'row 4')
  assert.equal((await part.load(1)).inputs[0]!.data, Float32Array.of(2))
  assert.equal(summarizeDataset(part), {
    name: 'made',
    length: 2,
    classes: ['0', '1', '2'],
    classCounts: [0, 1, 1],
    inputs: [{ name: '0', layout: 'plain', dims: [1], dtype: 'float32' }],
    targets: [{ name: '0', kind: 'class', dims: [] }],
    notes: [],
  })
})

test('selected classes are numbered in the order asked for', () => {
  const named = labelled([0, 1, 2, 0, 1, 2], { classNames: ['ant', 'bee', 'cat'] })
  const part = selectClasses(named, ['cat', 'ant'])
  assert.equal(rowsOf(part), [0, 2, 3, 5])
  assert.equal(part.classes, ['cat', 'ant'])
  assert.equal(
    [0, 1, 2, 3].map(i => part.target(i)),
    [1, 0, 1, 0],
  )
  assert.equal(part.targets, [{ name: '0', kind: 'class', dims: [], classes: ['cat', 'ant'] }])
  assert.equal(subset(part, [1]).label(0), 0)
})

test('classes that cannot be selected', async () => {
  const values = new ArrayDataset(
    'v',
    [{ name: '0', dims: [1, 1], data: Float32Array.of(1) }],
    { name: 'y', dims: [1], data: Float32Array.of(0.5), integer: false },
    {},
  )
  await assertFails(() => selectClasses(base, ['3']), "made: no class is named '3', found '0', '1', '2'")
  await assertFails(() => selectClasses(base, ['1', '1']), "made: class '1' is selected twice")
  await assertFails(
    () => selectClasses(values, ['a']),
    'v: targets are values, there are no classes to select',
  )
  const gap = labelled([0, 2])
  await assertFails(() => selectClasses(gap, ['1']), "made: the selected classes '1' have no samples")
})

test('a limit is balanced over the classes until one runs out', async () => {
  assert.equal(classCounts(limitDataset(base, 6, 1)), [2, 2, 2])
  assert.equal(classCounts(limitDataset(base, 8, 1)), [4, 2, 2])
  assert.is(limitDataset(base, 10, 1), base)
  const rows = rowsOf(limitDataset(base, 5, 3))
  assert.equal(
    rows,
    [...rows].sort((a, b) => a - b),
    'the samples keep their order',
  )
  assert.equal(rowsOf(limitDataset(base, 5, 3)), rows, 'seeded')
  await assertFails(() => limitDataset(base, 0, 1), 'data limit: expected a positive integer, got 0')
})

test('a split is stratified, disjoint and complete', () => {
  const labels = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 10, maxLength: 200 })
  fc.assert(
    fc.property(
      labels,
      fc.double({ min: 0.1, max: 0.9, noNaN: true }),
      fc.nat(),
      (labels, fraction, seed) => {
        const whole = labelled(labels)
        const [train, val] = splitDataset(whole, fraction, seed)
        assert.is(val.length, Math.round(labels.length * fraction))
        const together = [...rowsOf(train), ...rowsOf(val)].sort((a, b) => a - b)
        assert.equal(together, rowsOf(whole))
        const [all, held] = [classCounts(whole), classCounts(val)]
        held.forEach((count, label) => {
          assert.ok(Math.abs(count - all[label]! * fraction) < 1, `class ${label}: ${count} of ${all[label]}`)
        })
        for (const part of [train, val])
          rowsOf(part).forEach((row, i) => assert.is(part.label(i), labels[row]))
        assert.equal(
          rowsOf(splitDataset(whole, fraction, seed)[1]),
          rowsOf(val),
          'the same seed, the same split',
        )
      },
    ),
    { seed: 5, numRuns: 100 },
  )
})

test('another seed gives another split, and names say what they are', () => {
  const whole = labelled(Array.from({ length: 100 }, (_, i) => i % 4))
  const [train, val] = splitDataset(whole, 0.25, 1)
  assert.not.equal(rowsOf(val), rowsOf(splitDataset(whole, 0.25, 2)[1]))
  assert.equal(classCounts(val), [7, 6, 6, 6])
  assert.equal([train.name, val.name], ['made (all but 0.25)', 'made (held out 0.25)'])
})

test('splits that cannot be made', async () => {
  await assertFails(() => splitDataset(base, 1, 0), 'data split: expected a fraction between 0 and 1, got 1')
  await assertFails(
    () => splitDataset(base, 0.01, 0),
    'made: 10 samples cannot be split by 0.01: one part would be empty',
  )
})

test('a fingerprint tells other samples, targets, orders and names, and nothing else', () => {
  const all = images(6, 2, 2)
  const of = fingerprintDataset
  assert.match(of(all), /^[0-9a-f]{64}$/)
  assert.is(of(images(6, 2, 2)), of(all))
  assert.is(of(subset(all, [0, 1, 2, 3, 4, 5], 'other name')), of(all))
  const others = [
    subset(all, [0, 1, 2, 3, 4]),
    subset(all, [1, 0, 2, 3, 4, 5]),
    subset(all, [3, 1, 2, 0, 4, 5]), // the same labels, other pixels
    images(6, 2, 3),
    selectClasses(all, ['1', '0', '2']),
    new Fetched(all),
    subset(new Fetched(all), [3, 1, 2, 0, 4, 5]),
  ]
  const prints = [all, ...others].map(of)
  assert.is(new Set(prints).size, prints.length)
})

test.run()
