/** The specification of transforms: defaults by model and data, sizes, JSON. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { guessLayout, type Field } from '../../src/data/dataset.ts'
import { centerOffset, randomRegion, resizedSize } from '../../src/data/geometry.ts'
import { checkTransforms } from '../../src/data/transforms-check.ts'
import {
  defaultTransforms,
  imageInputOf,
  tensorTransforms,
  transformsFor,
} from '../../src/data/transforms-default.ts'
import {
  NO_AUGMENT,
  PRESETS,
  RANDOM_ERASING,
  RANDOM_RESIZED_CROP,
  withAugment,
} from '../../src/data/transforms.ts'
import { Random } from '../../src/util/random.ts'
import { assertFails } from './files.ts'
import { RAW } from './make.ts'

const files: Field = { name: '0', layout: 'HWC', dims: null, dtype: 'uint8', range: null }
const field = (dims: number[], more: Partial<Field> = {}): Field => ({
  name: 'x',
  layout: guessLayout(dims),
  dims,
  dtype: 'uint8',
  range: [0, 255],
  ...more,
})

test('sizes as torchvision computes them', () => {
  assert.equal(resizedSize({ height: 375, width: 500 }, { short: 256 }), { height: 256, width: 341 })
  assert.equal(resizedSize({ height: 500, width: 375 }, { short: 256 }), { height: 341, width: 256 })
  assert.equal(resizedSize({ height: 9, width: 7 }, { height: 3, width: 4 }), { height: 3, width: 4 })
  assert.equal(resizedSize({ height: 9, width: 7 }, null), { height: 9, width: 7 })
  const offsets = [224, 225, 226, 227, 341].map(length => centerOffset(length, 224))
  assert.equal(offsets, [0, 0, 1, 2, 58], 'halves to even: 0.5 -> 0, 1.5 -> 2, 58.5 -> 58')
  assert.equal([centerOffset(3, 4), centerOffset(3, 6)], [-0, -1])
})

test('random regions lie inside, keep scale and ratio, and fall back to the centre', () => {
  const source = { height: 60, width: 90 }
  for (let i = 0; i < 300; i++) {
    const { top, left, height, width } = randomRegion(source, RANDOM_RESIZED_CROP, Random.of(1, i))
    assert.ok(top >= 0 && left >= 0 && top + height <= 60 && left + width <= 90)
    const area = (height * width) / 5400
    assert.ok(area > 0.07 && area <= 1, `area ${area}`)
    const ratio = width / height
    assert.ok(ratio > 0.7 && ratio < 1.43, `ratio ${ratio}`)
  }
  const wide = { scale: [1, 1], ratio: [1, 1] } as const
  assert.equal(randomRegion({ height: 10, width: 100 }, wide, Random.of(1)), {
    top: 0,
    left: 45,
    height: 10,
    width: 10,
  })
  assert.equal(randomRegion({ height: 100, width: 10 }, wide, Random.of(1)), {
    top: 45,
    left: 0,
    height: 10,
    width: 10,
  })
})

test('layouts by dims', () => {
  const cases: [number[], string][] = [
    [[28, 28], 'HW'],
    [[32, 32, 3], 'HWC'],
    [[3, 32, 32], 'CHW'],
    [[1, 28, 28], 'CHW'],
    [[1, 28, 1], 'plain'],
    [[4, 5, 6], 'plain'],
    [[784], 'plain'],
    [[1, 9], 'plain'],
    [[], 'plain'],
  ]
  for (const [dims, layout] of cases) assert.is(guessLayout(dims), layout, String(dims))
})

test('image inputs by shape', () => {
  assert.equal(imageInputOf(['N', 3, 224, 224]), { channels: 3, height: 224, width: 224, layout: 'NCHW' })
  assert.equal(imageInputOf([1, 64, 48, 1]), { channels: 1, height: 64, width: 48, layout: 'NHWC' })
  assert.equal(imageInputOf([null, 3, 'H', 'W']), { channels: 3, height: null, width: null, layout: 'NCHW' })
  assert.equal(imageInputOf(['N', 28, 28]), { channels: 1, height: 28, width: 28, layout: 'NHW' })
  for (const shape of [[1, 10], [1, 5, 6, 7], [1, null, 4], []]) assert.is(imageInputOf(shape), null)
})

test('photos for an ImageNet model: 256, 224, ImageNet figures', () => {
  const expected = {
    kind: 'image',
    resize: { short: 256 },
    resample: 'fast',
    crop: { height: 224, width: 224 },
    augment: null,
    channels: 3,
    divide: 255,
    ...PRESETS.imagenet,
    layout: 'NCHW',
  }
  assert.equal(transformsFor([null, 3, 224, 224], files), expected)
  assert.equal(transformsFor([1, 3, 'H', 'W'], files), expected)
  assert.equal(transformsFor(['N', 224, 224, 3], files), { ...expected, layout: 'NHWC' })
  assert.equal(defaultTransforms({ channels: 3, height: 224, width: 224 }), expected)
})

test('small, oblong and one-channel inputs', () => {
  const small = defaultTransforms({ channels: 3, height: 32, width: 32 }, files)
  assert.equal([small.resize, small.crop], [{ height: 32, width: 32 }, null])
  const line = defaultTransforms({ channels: 3, height: 48, width: 192 }, files)
  assert.equal([line.resize, line.crop], [{ height: 48, width: 192 }, null])
  const digits = transformsFor([null, 1, 28, 28], field([28, 28]))
  assert.equal(digits, { ...RAW, resample: 'fast', channels: 1, divide: 255, ...PRESETS.mnist })
  const larger = defaultTransforms({ channels: 1, height: 32, width: 32 }, field([28, 28]))
  assert.equal([larger.resize, larger.mean, larger.std], [{ height: 32, width: 32 }, [0], [1]])
  const open = defaultTransforms({ channels: 1, height: null, width: null }, field([28, 28]))
  assert.equal([open.resize, open.mean], [null, PRESETS.mnist.mean])
})

test('numbers that are no bytes: fractions, 0 to 255, normalised before', () => {
  const input = { channels: 1, height: 28, width: 28 } as const
  const of = (range: [number, number]) =>
    defaultTransforms(input, field([28, 28], { dtype: 'float32', range }))
  assert.equal([of([0, 1]).divide, of([0, 1]).mean], [1, PRESETS.mnist.mean])
  assert.equal([of([0, 254]).divide, of([0, 254]).mean], [255, PRESETS.mnist.mean])
  for (const range of [
    [-1, 1],
    [0, 16],
    [0, 1000],
    [NaN, NaN],
  ] as [number, number][])
    assert.equal([of(range).divide, of(range).mean, of(range).std], [1, [0], [1]], String(range))
})

test('a preset of the person wins; one for other channels is refused', async () => {
  assert.equal(transformsFor([1, 3, 32, 32], files, { preset: 'none' }), {
    ...defaultTransforms({ channels: 3, height: 32, width: 32 }),
    ...PRESETS.none,
  })
  await assertFails(
    () => defaultTransforms({ channels: 1, height: 28, width: 28 }, files, 'imagenet'),
    "transforms: preset 'imagenet' is for 3 channels, the model input has 1",
  )
})

test('flat, axis-less and plain inputs', () => {
  const flat = transformsFor(['N', 784], field([28, 28]))
  assert.equal([flat.kind === 'image' && flat.layout, flat.mean], ['flat', PRESETS.mnist.mean])
  const axisless = transformsFor([null, 28, 28], field([28, 28]))
  assert.ok(axisless.kind === 'image' && axisless.layout === 'NHW')
  const floats = { dtype: 'float32', range: [-2, 2] } as const
  assert.equal(transformsFor([null, 50, 12], field([50, 12], floats)), tensorTransforms([50, 12]))
  assert.equal(transformsFor([null, 784], field([28, 28], floats)), tensorTransforms([784]))
  assert.equal(transformsFor([null, 'T', 12], field([50, 12], floats)), tensorTransforms([50, 12]))
  assert.equal(transformsFor([null, 1, 28, 28], field([784])), {
    ...tensorTransforms([1, 28, 28]),
    std: [255],
  })
  const ids = field([16], { dtype: 'int32', range: [0, 9999] })
  assert.equal(transformsFor([null, 16], ids, { dtype: 'int64' }), tensorTransforms([16], 'int64'))
})

test('data that the model cannot take', async () => {
  await assertFails(
    () => transformsFor([null, 10], files),
    'transforms: the data are images, the model input [?,10] is not that of an image',
  )
  await assertFails(
    () => transformsFor([null, 100], field([28, 28])),
    'transforms: the model input takes 100 numbers, an image of the data has [28,28]',
  )
  await assertFails(
    () => transformsFor([null, 7], field([13], { dtype: 'float32' })),
    "transforms: a row of input 'x' is [13], the model input takes [7]",
  )
})

test('transforms survive JSON', () => {
  const all = [
    withAugment(RAW, { flip: 0.5, shift: 4, fill: 'edge', randomResizedCrop: RANDOM_RESIZED_CROP }),
    defaultTransforms({ channels: 3, height: 224, width: 224 }),
    tensorTransforms([2, 3], 'int64'),
    withAugment(tensorTransforms(), { flip: 1 }),
  ]
  for (const transforms of all)
    assert.equal(checkTransforms(JSON.parse(JSON.stringify(transforms)), 'config.json'), transforms)
})

const RANGE = '[smallest, largest] above 0, at most 1'
const AUGMENTS: readonly [object, string][] = [
  [{ flip: 2 }, 'flip: a number from 0 to 1'],
  [{ shift: 0.5 }, 'shift: a whole number of pixels'],
  [{ randomResizedCrop: { scale: [0.5, 2], ratio: [1, 1] } }, `randomResizedCrop: null or scale: ${RANGE}`],
  [{ rotation: 200 }, 'rotation: a number from 0 to 180'],
  [{ randAugment: { ops: 2, magnitude: 31 } }, 'randAugment: null or magnitude: a number from 0 to 30'],
  [
    { colorJitter: { brightness: 0, contrast: 0, saturation: 0, hue: 0.6 } },
    'colorJitter: null or hue: a number from 0 to 0.5',
  ],
  [
    { erasing: { ...RANDOM_ERASING, probability: 1, value: 'noise' } },
    'erasing: null or value: "zero" or "random"',
  ],
]

test('JSON that is no transforms', async () => {
  const image = (change: object) => ({ ...RAW, ...change })
  const cases: [unknown, string][] = [
    [null, 'kind: expected "image" or "tensor", got undefined'],
    [{ kind: 'sound' }, 'kind: expected "image" or "tensor", got "sound"'],
    [
      image({ rotate: 9 }),
      "unknown field 'rotate', expected kind, resize, resample, crop, augment, channels, divide, mean, std, layout",
    ],
    [
      image({ resize: { short: 0 } }),
      'resize: expected null or { short } in whole pixels or { height, width } in whole pixels, got {"short":0}',
    ],
    [image({ resample: 'lanczos' }), 'resample: expected "fast" or "exact", got "lanczos"'],
    [
      image({ crop: { height: 2 } }),
      'crop: expected null or { height, width } in whole pixels, got {"height":2}',
    ],
    [image({ channels: 2 }), 'channels: expected null or 1 or 3, got 2'],
    [image({ divide: 0 }), 'divide: expected a positive number, got 0'],
    [image({ mean: [] }), 'mean: expected a list of numbers, got []'],
    [image({ std: [0.2, 0] }), 'std: expected a list of positive numbers, got [0.2,0]'],
    [image({ layout: 'CHWN' }), 'layout: expected "NCHW" or "NHWC" or "NHW" or "flat", got "CHWN"'],
    [
      image({ augment: { flip: 0.5 } }),
      `augment: expected null or an object of ${Object.keys(NO_AUGMENT).join(', ')}, got {"flip":0.5}`,
    ],
    ...AUGMENTS.map(([augment, expected]): [unknown, string] => [
      image({ augment: { ...NO_AUGMENT, ...augment } }),
      `augment: expected null or ${expected}, got ${JSON.stringify({ ...NO_AUGMENT, ...augment })}`,
    ]),
    [{ ...tensorTransforms(), dims: [0] }, 'dims: expected null or a list of dims, got [0]'],
    [{ ...tensorTransforms(), dtype: 'int8' }, 'dtype: expected "float32" or "int32" or "int64", got "int8"'],
  ]
  for (const [value, message] of cases)
    await assertFails(() => checkTransforms(value, 'config.json'), `config.json: transforms: ${message}`)
})

test.run()
