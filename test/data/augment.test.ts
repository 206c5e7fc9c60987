/** Augmentations of pixels: torchvision's numbers on fixed amounts, closed forms of what chance draws. */

import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  adjustBrightness,
  adjustContrast,
  adjustHue,
  adjustSaturation,
} from '../../src/data/augment/color.ts'
import { jitterColors } from '../../src/data/augment/color-jitter.ts'
import { erase, erasedRegion } from '../../src/data/augment/erasing.ts'
import { autocontrast, equalize, posterize, solarize } from '../../src/data/augment/levels.ts'
import {
  adjustSharpness,
  rotation,
  shearX,
  shearY,
  transformAffine,
  translateX,
  translateY,
  type Affine,
} from '../../src/data/augment/neighbours.ts'
import { OPERATIONS, randAugment } from '../../src/data/augment/rand-augment.ts'
import { ArrayDataset } from '../../src/data/array-dataset.ts'
import type { ImageDims } from '../../src/data/dataset.ts'
import { BatchLoader } from '../../src/data/loader.ts'
import { createPipeline } from '../../src/data/pipeline.ts'
import { NO_AUGMENT, RANDOM_ERASING, withAugment, type Augment } from '../../src/data/transforms.ts'
import { Random } from '../../src/util/random.ts'
import { readSafetensors } from '../support/safetensors.ts'
import { assertFails, FIXTURES } from './files.ts'
import { images, RAW } from './make.ts'

type Change = (pixels: Uint8Array, dims: ImageDims, amount: number) => Uint8Array

const inPlace =
  (change: (pixels: Uint8Array, dims: ImageDims, amount: number) => void): Change =>
  (pixels, dims, amount) => {
    const copy = pixels.slice()
    change(copy, dims, amount)
    return copy
  }

const affine =
  (map: (amount: number, dims: ImageDims) => Affine): Change =>
  (pixels, dims, amount) =>
    transformAffine(pixels, dims, map(amount, dims))

const CHANGES: Readonly<Record<string, Change>> = {
  brightness: inPlace((pixels, _, factor) => adjustBrightness(pixels, factor)),
  contrast: inPlace(adjustContrast),
  saturation: inPlace(adjustSaturation),
  hue: inPlace(adjustHue),
  sharpness: adjustSharpness,
  posterize: inPlace((pixels, _, bits) => posterize(pixels, bits)),
  solarize: inPlace((pixels, _, threshold) => solarize(pixels, threshold)),
  autocontrast: inPlace(autocontrast),
  equalize: inPlace(equalize),
  shearX: affine(shearX),
  shearY: affine(shearY),
  translateX: affine(translateX),
  translateY: affine(translateY),
  rotate: affine(rotation),
}

const reference = readSafetensors(join(FIXTURES, 'augment.safetensors'))

for (const [name, expected] of reference) {
  const [image, operation, amount] = name.split(/[/,]/) as [string, string, string | undefined]
  if (image === 'mix' || amount === undefined) continue
  test(`${name}: torchvision's bytes`, () => {
    const input = reference.get(`${image}/input`)!
    const [height, width, channels] = input.dims as [number, number, number]
    const found = CHANGES[operation]!(input.data as Uint8Array, { height, width, channels }, Number(amount))
    const differences = found.reduce(
      (count, value, i) => count + Number(value !== (expected.data as Uint8Array)[i]),
      0,
    )
    assert.is(differences, 0, `${differences} of ${found.length} bytes differ`)
  })
}

test('every change of the fixtures is made, and nothing else', () => {
  const made = new Set(
    [...reference.keys()].filter(name => !name.startsWith('mix')).map(name => name.split(/[/,]/)[1]),
  )
  assert.equal([...made].sort(), [...Object.keys(CHANGES), 'input'].sort())
})

const DIMS = { height: 24, width: 24, channels: 3 }
const pixels = () => Uint8Array.from({ length: 24 * 24 * 3 }, (_, i) => 40 + (((i * i) >> 5) % 160))

test('RandAugment: each of the 14 operations is as likely, two directions where there are two, strength 0 changes nothing', () => {
  assert.is(Object.keys(OPERATIONS).length, 14)
  const still = randAugment(pixels(), DIMS, { ops: 0, magnitude: 9 }, Random.of(1))
  assert.equal(still, pixels())
  const results = new Map<string, number>()
  const draws = 14 * 400
  const random = Random.of(5)
  for (let i = 0; i < draws; i++) {
    const key = Buffer.from(randAugment(pixels(), DIMS, { ops: 1, magnitude: 20 }, random)).toString('latin1')
    results.set(key, (results.get(key) ?? 0) + 1)
  }
  // 9 signed operations give 18 images of probability 1/28, the 5 others one of 1/14 each.
  const counts = [...results.values()].sort((a, b) => a - b)
  assert.is(counts.length, 23)
  counts.forEach((count, i) => {
    const p = i < 18 ? 1 / 28 : 1 / 14
    const deviation = Math.sqrt(draws * p * (1 - p))
    assert.ok(Math.abs(count - draws * p) < 5 * deviation, `${count} of ${draws} at ${p}`)
  })
})

test('colour jitter: factors are uniform in [max(0, 1 - x), 1 + x], all orders are as likely', () => {
  const only = { brightness: 0, contrast: 0, saturation: 0, hue: 0 }
  const random = Random.of(3)
  let [sum, least, most] = [0, 255, 0]
  for (let i = 0; i < 4000; i++) {
    const gray = Uint8Array.of(100, 100, 100)
    jitterColors(gray, { height: 1, width: 1, channels: 3 }, { ...only, brightness: 0.4 }, random)
    sum += gray[0]! + 0.5
    least = Math.min(least, gray[0]!)
    most = Math.max(most, gray[0]!)
  }
  // Levels 60 ... 140, cut off: the mean of U(60, 140) is 100, its deviation 80 / sqrt(12).
  assert.ok(Math.abs(sum / 4000 - 100) < (5 * 80) / Math.sqrt(12 * 4000), `mean ${sum / 4000}`)
  assert.equal([least, most], [60, 139])
})

test('erasing: a region inside, of area and proportions in their ranges; none where nothing fits', () => {
  const erasing = { ...RANDOM_ERASING, probability: 1 }
  const dims = { height: 64, width: 48, channels: 1 }
  const random = Random.of(9)
  for (let i = 0; i < 2000; i++) {
    const { top, left, height, width } = erasedRegion(dims, erasing, random)!
    assert.ok(top >= 0 && left >= 0 && top + height <= 64 && left + width <= 48)
    const rounding = (height + width + 1) / 2
    assert.ok(Math.abs(height * width - 0.175 * 64 * 48) <= 0.155 * 64 * 48 + rounding, `${height}x${width}`)
    assert.ok((height - 0.5) / (width + 0.5) < 3.3 && (height + 0.5) / (width - 0.5) > 0.3)
  }
  assert.is(erasedRegion({ ...dims, height: 1 }, erasing, random), null)
  const out = new Float32Array(2 * 3 * 2).fill(1)
  erase(out, 0, { height: 3, width: 2, channels: 2 }, true, { top: 1, left: 1, height: 2, width: 1 }, () => 0)
  assert.equal([...out], [1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0])
  out.fill(1)
  erase(
    out,
    0,
    { height: 3, width: 2, channels: 2 },
    false,
    { top: 0, left: 0, height: 1, width: 2 },
    () => 7,
  )
  assert.equal([...out], [7, 7, 1, 1, 1, 1, 7, 7, 1, 1, 1, 1])
})

const ALL: Partial<Augment> = {
  flip: 0.5,
  verticalFlip: 0.5,
  shift: 1,
  rotation: 15,
  randAugment: { ops: 2, magnitude: 9 },
  colorJitter: { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 },
  erasing: { ...RANDOM_ERASING, probability: 0.5, value: 'random' },
  randomResizedCrop: { scale: [0.3, 1], ratio: [0.75, 1.33] },
}

function colorImages(count: number): ArrayDataset {
  const data = Uint8Array.from({ length: count * 12 * 10 * 3 }, (_, i) => (i * 29 + (i >> 5)) & 255)
  const y = { name: 'y', dims: [count], data: new Uint8Array(count), integer: true }
  return new ArrayDataset('colors', [{ name: '0', dims: [count, 12, 10, 3], data }], y, {})
}

test('all at once: the same seed, epoch and place give the same numbers; others give others; evaluation is clean', async () => {
  const transforms = withAugment({ ...RAW, divide: 255, crop: { height: 8, width: 8 } }, ALL)
  const loader = (seed: number, mode: 'train' | 'eval') =>
    new BatchLoader(colorImages(12), { batchSize: 4, seed, mode, transforms })
  const numbers = async (seed: number, epoch: number, batch: number, mode: 'train' | 'eval' = 'train') =>
    (await loader(seed, mode).batch(epoch, batch)).inputs.get('0')!.toNumbers().join()
  const first = await numbers(1, 2, 1)
  assert.is(await numbers(1, 2, 1), first)
  for (const other of [await numbers(2, 2, 1), await numbers(1, 3, 1), await numbers(1, 2, 0)])
    assert.not(other === first)
  const clean = new BatchLoader(colorImages(12), {
    ...{ batchSize: 4, seed: 0, mode: 'eval' as const },
    transforms: { ...transforms, augment: null },
  })
  assert.is(await numbers(1, 0, 2, 'eval'), (await clean.batch(0, 2)).inputs.get('0')!.toNumbers().join())
})

test('changes of amount nothing give the same numbers as no changes, for bytes and for fractions', async () => {
  const nothing = { colorJitter: { brightness: 0, contrast: 0, saturation: 0, hue: 0 } }
  const bytes = images(3, 5, 4)
  const fractions = new ArrayDataset(
    'fractions',
    [{ name: '0', dims: [3, 5, 4], data: Float32Array.from(bytes.columns.inputs[0]!, byte => byte / 255) }],
    { name: 'y', dims: [3], data: new Uint8Array(3), integer: true },
    {},
  )
  for (const [dataset, divide] of [
    [bytes, 255],
    [fractions, 1],
  ] as const) {
    const plain = { ...RAW, divide, mean: [0.4], std: [0.2] }
    const batchOf = async (transforms: typeof plain) => {
      const loader = new BatchLoader(dataset, { batchSize: 3, seed: 0, mode: 'train', transforms })
      return (await loader.batch(0, 0)).inputs.get('0')!.toNumbers()
    }
    const [expected, found] = [await batchOf(plain), await batchOf(withAugment(plain, nothing))]
    found.forEach((value, i) => assert.ok(Math.abs(value - expected[i]!) < 1e-6, `${value} ${expected[i]}`))
  }
})

test('a vertical flip turns rows round', () => {
  const dims = [3, 2]
  const field = { name: '0', layout: 'HW', dims, dtype: 'uint8', range: null } as const
  const pipeline = createPipeline(withAugment(RAW, { verticalFlip: 1 }), field)
  const out = new Float32Array(6)
  pipeline.writeRow(Uint8Array.of(1, 2, 3, 4, 5, 6), 0, pipeline.draw(Random.of(0)), out, 0)
  assert.equal([...out], [5, 6, 3, 4, 1, 2])
})

test('colours of what is no image are refused', async () => {
  const normalised = new ArrayDataset(
    'n',
    [{ name: '0', dims: [2, 4, 4], data: Float32Array.from({ length: 32 }, (_, i) => i - 16) }],
    { name: 'y', dims: [2], data: new Uint8Array(2), integer: true },
    {},
  )
  const transforms = withAugment(RAW, { ...NO_AUGMENT, rotation: 10 })
  await assertFails(
    () => new BatchLoader(normalised, { batchSize: 2, seed: 0, mode: 'train', transforms }),
    "transforms: colours are changed in pixels from 0 to 1, input '0' holds numbers from -16 to 15",
  )
})

test.run()
