/** The inner loop and its pipelines, by hand-computed pixels. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Field, SampleInput } from '../../src/data/dataset.ts'
import { createPipeline, type Draw } from '../../src/data/pipeline.ts'
import { tensorTransforms } from '../../src/data/transforms-default.ts'
import { withAugment, type ImageTransforms, type Transforms } from '../../src/data/transforms.ts'
import { sizeOf } from '../../src/tensor/shape.ts'
import { Random } from '../../src/util/random.ts'
import { assertFails } from './files.ts'
import { input, RAW } from './make.ts'

function fieldOf({ dims, layout }: SampleInput, dtype: Field['dtype'] = 'uint8'): Field {
  return { name: 'x', dims, layout, dtype, range: null }
}

function apply(
  sample: SampleInput,
  transforms: Transforms,
  draw?: Partial<Draw>,
): [readonly number[], number[]] {
  const pipeline = createPipeline(transforms, fieldOf(sample))
  const dims = pipeline.dimsOf(sample)
  const out = new Float32Array(sizeOf(dims) + 2).fill(-99)
  pipeline.writeInput(sample, { ...pipeline.draw(null), ...draw }, out, 1)
  assert.equal([out[0], out.at(-1)], [-99, -99], 'writes nothing outside its place')
  return [dims, [...out.subarray(1, -1)]]
}

// 1 2 3
// 4 5 6
const small = input([2, 3], 'HW', [1, 2, 3, 4, 5, 6])
// red 1..4, green 11..14, blue 21..24 of a 2x2 image
const colour = input([2, 2, 3], 'HWC', [1, 11, 21, 2, 12, 22, 3, 13, 23, 4, 14, 24])
const planes = input([3, 2, 2], 'CHW', [1, 2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 24])

test('layouts in and out', () => {
  const nchw = [1, 2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 24]
  const nhwc = [1, 11, 21, 2, 12, 22, 3, 13, 23, 4, 14, 24]
  for (const sample of [colour, planes]) {
    assert.equal(apply(sample, RAW), [[3, 2, 2], nchw])
    assert.equal(apply(sample, { ...RAW, layout: 'NHWC' }), [[2, 2, 3], nhwc])
    assert.equal(apply(sample, { ...RAW, layout: 'flat' }), [[12], nchw])
  }
  assert.equal(apply(small, { ...RAW, layout: 'NHW' }), [
    [2, 3],
    [1, 2, 3, 4, 5, 6],
  ])
})

test('channels: repeated, weighed, alpha dropped', () => {
  const dot = input([1, 1], 'HW', [7])
  assert.equal(apply(dot, { ...RAW, channels: 3 }), [
    [3, 1, 1],
    [7, 7, 7],
  ])
  // round(0.299 * 200 + 0.587 * 100 + 0.114 * 50) = round(124.2)
  const rgb = input([1, 1, 3], 'HWC', [200, 100, 50])
  assert.equal(apply(rgb, { ...RAW, channels: 1 })[1], [124])
  assert.equal(apply(input([3, 1, 1], 'CHW', [200, 100, 50]), { ...RAW, channels: 1 })[1], [124])
  const rgba = input([1, 2, 4], 'HWC', [1, 2, 3, 99, 4, 5, 6, 99])
  assert.equal(apply(rgba, { ...RAW, channels: 3 })[1], [1, 4, 2, 5, 3, 6])
  const floats: SampleInput = { dims: [1, 1, 3], layout: 'HWC', data: Float32Array.of(1, 0.5, 0.25) }
  assert.equal(apply(floats, { ...RAW, channels: 1 })[1], [Math.fround(0.299 + 0.2935 + 0.0285)])
})

test('normalisation rounds to float32 at each step, per channel', () => {
  const norm: ImageTransforms = {
    ...RAW,
    divide: 255,
    mean: [0.485, 0.456, 0.406],
    std: [0.229, 0.224, 0.225],
  }
  const f = Math.fround
  const expected = (value: number, mean: number, std: number) => f(f(f(value / 255) - f(mean)) / f(std))
  const [, out] = apply(input([1, 1, 3], 'HWC', [200, 100, 50]), norm)
  assert.equal(out, [expected(200, 0.485, 0.229), expected(100, 0.456, 0.224), expected(50, 0.406, 0.225)])
  const floats: SampleInput = { dims: [1, 1, 3], layout: 'HWC', data: Float32Array.of(200, 100, 50) }
  assert.equal(apply(floats, norm)[1], out, 'bytes by table and floats by arithmetic agree')
})

const shifts: [string, Partial<Draw>, 'zero' | 'edge', number[]][] = [
  ['down 1', { down: 1 }, 'zero', [4, 5, 6, 0, 0, 0]],
  ['right 1', { right: 1 }, 'zero', [2, 3, 0, 5, 6, 0]],
  ['left 2, up 1', { right: -2, down: -1 }, 'zero', [0, 0, 0, 0, 0, 1]],
  ['out of sight', { right: 9 }, 'zero', [0, 0, 0, 0, 0, 0]],
  ['mirrored', { flip: true }, 'zero', [3, 2, 1, 6, 5, 4]],
  ['right 1, mirrored', { right: 1, flip: true }, 'zero', [0, 3, 2, 0, 6, 5]],
  ['down 1, edges', { down: 1 }, 'edge', [4, 5, 6, 4, 5, 6]],
  ['left 2, up 1, edges', { right: -2, down: -1 }, 'edge', [1, 1, 1, 1, 1, 1]],
  ['right 2, mirrored, edges', { right: 2, flip: true }, 'edge', [3, 3, 3, 6, 6, 6]],
  ['out of sight, edges', { right: 9 }, 'edge', [3, 3, 3, 6, 6, 6]],
]

for (const [what, draw, fill, expected] of shifts)
  test(`window ${what}`, () => {
    const transforms = withAugment(RAW, { flip: 0.5, shift: 2, fill })
    assert.equal(apply(small, transforms, draw)[1], expected)
    assert.equal(apply(small, { ...transforms, layout: 'NHWC' }, draw)[1], expected)
  })

test('outside the image lies black, normalised', () => {
  const transforms = withAugment({ ...RAW, mean: [2], std: [4] }, { shift: 1 })
  assert.equal(apply(small, transforms, { down: 1 })[1], [0.5, 0.75, 1, -0.5, -0.5, -0.5])
})

test('a crop is centred, a shift moves it over the image', () => {
  const crop = { height: 1, width: 1 }
  assert.equal(apply(small, { ...RAW, crop })[1], [2]) // rows: 0.5 rounds to the even 0
  assert.equal(apply(small, withAugment({ ...RAW, crop }, { shift: 1 }), { down: 1, right: 1 })[1], [6])
})

test('draws come from the random numbers alone and cover their range', () => {
  const pipeline = createPipeline(withAugment(RAW, { flip: 0.25, shift: 2 }), fieldOf(small))
  const draws = Array.from({ length: 2000 }, (_, i) => pipeline.draw(Random.of(5, 0, i)))
  assert.equal(
    draws,
    Array.from({ length: 2000 }, (_, i) => pipeline.draw(Random.of(5, 0, i))),
  )
  const flipped = draws.filter(draw => draw.flip).length
  assert.ok(flipped > 430 && flipped < 570, String(flipped))
  for (const key of ['down', 'right'] as const)
    for (let shift = -2; shift <= 2; shift++) {
      const count = draws.filter(draw => draw[key] === shift).length
      assert.ok(count > 330 && count < 470, `${key} ${shift}: ${count} of 2000`)
    }
})

test('without augmentation nothing is drawn', () => {
  for (const augment of [null, {}]) {
    const pipeline = createPipeline(withAugment(RAW, augment), fieldOf(small))
    assert.not(pipeline.random)
  }
})

test('plain numbers: dims, normalisation per element, integers', () => {
  const row: SampleInput = { dims: [4], layout: 'plain', data: Float32Array.of(1, 2, 3, 4) }
  const normed = { ...tensorTransforms([2, 2]), mean: [1, 1, 1, 2], std: [1, 1, 2, 4] }
  assert.equal(apply(row, normed), [
    [2, 2],
    [0, 1, 1, 0.5],
  ])
  const ids: Field = { name: 'ids', dims: [2], layout: 'plain', dtype: 'int32', range: null }
  for (const [dtype, out, expected] of [
    ['int64', new BigInt64Array(2), BigInt64Array.of(5n, -6n)],
    ['int32', new Int32Array(2), Int32Array.of(5, -6)],
  ] as const) {
    const pipeline = createPipeline(tensorTransforms(null, dtype), ids)
    pipeline.writeRow(Int32Array.of(0, 5, -6), 1, pipeline.draw(null), out, 0)
    assert.equal(out, expected)
  }
})

test('transforms that do not fit the data', async () => {
  const row: Field = { name: 'x', dims: [4], layout: 'plain', dtype: 'float32', range: null }
  const files: Field = { name: '0', dims: null, layout: 'HWC', dtype: 'uint8', range: null }
  const cases: [Transforms, Field, string][] = [
    [RAW, row, "transforms: input 'x' with rows of [4] is no image"],
    [tensorTransforms([3]), row, "transforms: rows of input 'x' are [4], dims [3] do not fit"],
    [tensorTransforms(null, 'int64'), row, "transforms: input 'x' holds float32, the model wants int64"],
    [tensorTransforms(), files, 'transforms: image files need transforms of kind image, got kind tensor'],
    [
      { ...tensorTransforms(), mean: [1, 2] },
      row,
      'transforms: mean has 2 numbers, expected 1 or one for each of 4 elements',
    ],
    [
      { ...tensorTransforms(null, 'int32'), std: [2] },
      { ...row, dtype: 'int32' },
      "transforms: mean and std make no sense for int32 input 'x'",
    ],
    [
      { ...RAW, mean: [1, 2] },
      files,
      'transforms: mean has 2 numbers, expected 1 or one for each of 3 channels',
    ],
    [{ ...RAW, layout: 'NHW' }, files, 'transforms: layout NHW needs 1 channel, the images have 3'],
    [
      withAugment(RAW, { randomResizedCrop: { scale: [0.5, 1], ratio: [1, 1] } }),
      files,
      'transforms: randomResizedCrop needs a crop or an exact resize for its output size',
    ],
  ]
  for (const [transforms, field, message] of cases)
    await assertFails(() => createPipeline(transforms, field), message)
})

test.run()
