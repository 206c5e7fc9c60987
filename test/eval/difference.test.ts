/** How far apart two values are: numbers worked out by hand. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DifferenceAccumulator, differenceOf, formatDifference } from '../../src/eval/difference.ts'
import { toleranceFor } from '../../src/eval/tolerance.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import type { DType } from '../../src/tensor/dtype.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

const of = (dtype: DType, values: readonly number[]) => Tensor.of(dtype, [values.length], values)
const floats = (...values: number[]) => of('float32', values)

test('floats: the largest difference over the largest magnitude of the reference', () => {
  const found = differenceOf(floats(1, -4, 2, 0), floats(1.5, -4, 1, 0.25))
  assert.equal([found.maxAbsolute, found.scale, found.relative, found.mismatched], [1, 4, 0.25, 0])
  assert.equal(found.worst, { batch: 0, index: 2, reference: 2, value: 1 })
})

test('equal values differ by nothing, infinities and NaN of both included', () => {
  const values = floats(1, Infinity, -Infinity, NaN, -0)
  const found = differenceOf(values, floats(1, Infinity, -Infinity, NaN, 0))
  assert.equal(
    [found.maxAbsolute, found.relative, found.mismatched, found.worst, found.scale],
    [0, 0, 0, null, 1],
  )
})

test('what only one of the two can compute is infinitely far off', () => {
  for (const [r, a] of [
    [1, NaN],
    [NaN, 1],
    [1, Infinity],
    [Infinity, -Infinity],
    [Infinity, NaN],
  ] as const) {
    const found = differenceOf(floats(3, r, 2), floats(3, a, 5))
    assert.equal([found.relative, found.mismatched], [Infinity, 1], `${r} and ${a}`)
    assert.equal(found.worst, { batch: 0, index: 1, reference: r, value: a })
  }
})

test('differences of a value of zeros are not infinite, those of tiny values do not count', () => {
  const found = differenceOf(floats(0, 0), floats(0, 2 ** -40))
  assert.is(found.relative, 2 ** -40 / 1e-6)
  assert.is(differenceOf(floats(0), floats(1)).relative, 1e6)
})

test('integers and booleans: the share that is not equal', () => {
  const found = differenceOf(of('int64', [1, 2, 3, 2 ** 40]), of('int64', [1, 2, 7, 2 ** 40]))
  assert.equal([found.relative, found.mismatched, found.maxAbsolute], [0.25, 1, 4])
  assert.equal(found.worst, { batch: 0, index: 2, reference: 3, value: 7 })
  assert.is(differenceOf(of('bool', [0, 1]), of('bool', [1, 0])).relative, 1)
  assert.is(differenceOf(of('int64', [5, 6]), of('int32', [5, 6])).relative, 0)
})

test('half precision is compared by value, not by bits', () => {
  const found = differenceOf(of('float16', [1, 2]), of('float16', [1, 1.5]))
  assert.equal([found.maxAbsolute, found.scale], [0.5, 2])
})

test('other dims are infinitely far off, and both are told', () => {
  const found = differenceOf(Tensor.of('float32', [1, 2], [1, 2]), floats(1, 2))
  assert.equal([found.relative, found.shapes], [Infinity, '[1,2] and [2]'])
})

test('over batches: one scale, the batch of the worst element', () => {
  const all = new DifferenceAccumulator()
  const worse = [
    all.add(floats(1, 2), floats(1, 2.5)),
    all.add(floats(8, 1), floats(8, 1.25)),
    all.add(floats(3), floats(2)),
  ]
  assert.equal(worse, [true, false, true])
  const found = all.result()
  assert.equal([found.elements, found.scale, found.relative], [5, 8, 0.125])
  assert.equal(found.worst, { batch: 2, index: 0, reference: 3, value: 2 })
})

test('tolerances: by arithmetic and by type; what is asked for counts alone', () => {
  const cpu = cpuEngine()
  const tf32 = { ...cpu, precision: 'tf32' as const }
  const table = (engines: Parameters<typeof toleranceFor>[0]) =>
    (['float32', 'int64', 'float16', 'float64'] as const).map(toleranceFor(engines))
  assert.equal(table([cpu, cpu]), [1e-3, 1e-3, 1e-2, 1e-9])
  assert.equal(table([cpu, tf32]), [1e-2, 1e-2, 1e-2, 1e-9])
  assert.is(toleranceFor([cpu, tf32], 0.5)('float64'), 0.5)
})

test('differences as text', () => {
  assert.equal([0, 3.21e-7, Infinity].map(formatDifference), ['0', '3.2e-7', 'infinite'])
})

test.run()
