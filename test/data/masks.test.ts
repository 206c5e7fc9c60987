/** Masks: the numbers that PNG files store, folders of pairs, and masks that go where their images go. */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ArrayDataset } from '../../src/data/array-dataset.ts'
import { randAugment } from '../../src/data/augment/rand-augment.ts'
import { transformAffine, type Affine } from '../../src/data/augment/neighbours.ts'
import type { Dataset, ImageDims } from '../../src/data/dataset.ts'
import { fingerprintDataset } from '../../src/data/fingerprint.ts'
import { withCache } from '../../src/data/image-cache.ts'
import { BatchLoader } from '../../src/data/loader.ts'
import { fitMasks } from '../../src/data/mask/fit.ts'
import { followImage } from '../../src/data/mask/follow.ts'
import { decodePngLevels } from '../../src/data/mask/png-mask.ts'
import { openDataset, openTrainAndVal } from '../../src/data/open.ts'
import { mixBatch } from '../../src/data/augment/mix.ts'
import { RANDOM_RESIZED_CROP, withAugment, type Augment } from '../../src/data/transforms.ts'
import { Random } from '../../src/util/random.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { assertFails, FIXTURES, temporaryFolder, writeTree } from './files.ts'
import { Fetched, RAW } from './make.ts'

const folder = join(FIXTURES, 'masks')
const { height, width, levels, nearest } = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as {
  height: number
  width: number
  levels: Record<string, number[]>
  nearest: { region: [number, number, number, number]; size: [number, number]; labels: number[] }[]
}
const fixture = (name: string) => readFileSync(join(folder, `${name}.png`))

test('every PNG of the fixtures has its numbers in index.json, or is refused below', () => {
  const files = readdirSync(folder).filter(name => name.endsWith('.png'))
  assert.equal(files.sort(), [...Object.keys(levels), 'rgb'].map(name => `${name}.png`).sort())
})

for (const [name, expected] of Object.entries(levels)) {
  test(`${name}: the stored numbers, as Pillow reads them`, async () => {
    const found = await decodePngLevels(fixture(name))
    assert.equal([found.height, found.width], [height, width])
    assert.equal([...found.levels], expected)
  })
}

test('PNG files that are damaged, or hold no classes', async () => {
  const palette = fixture('palette')
  const changed = (at: number, value: number) =>
    Uint8Array.from(palette, (byte, i) => (i === at ? value : byte))
  await assertFails(() => decodePngLevels(fixture('rgb')), 'expected one channel of classes, found RGB', {
    cure: 'save it as an 8-bit grey, 16-bit grey or palette PNG whose numbers are the classes',
  })
  await assertFails(() => decodePngLevels(Buffer.from('not a PNG at all')), 'it is no PNG file')
  await assertFails(() => decodePngLevels(palette.subarray(0, 100)), 'the file is cut off')
  await assertFails(() => decodePngLevels(changed(20, 99)), 'the checksum of its IHDR chunk is wrong')
  const raw = { raw: { width: 4, height: 4, channels: 1 } } as const
  const interlaced = await sharp(Buffer.alloc(16), raw)
    .toColourspace('b-w')
    .png({ progressive: true })
    .toBuffer()
  await assertFails(() => decodePngLevels(interlaced), 'it is interlaced, which is not read', {
    cure: 'save it without interlacing',
  })
})

test("parts of masks are scaled as Pillow's NEAREST does it", async () => {
  const { levels: stored } = await decodePngLevels(fixture('palette'))
  const mask = { height, width, labels: Int32Array.from(stored) }
  for (const { region, size, labels } of nearest) {
    const [top, left, h, w] = region
    const out = { height: size[0], width: size[1] }
    const placement = { region: { top, left, height: h, width: w }, size: out }
    const geometry = { place: () => placement, key: null, resample: 'fast' } as const
    const window = { top: 0, left: 0, flip: false }
    const found = followImage(mask, { geometry, window, size: out, moves: [], fill: 'zero' }, -1)
    assert.equal([...found], labels, region.join())
  }
  const whole = nearest[0]!
  const tensor = Tensor.of('int64', [1, height, width], levels['palette']!)
  for (const positions of [whole.size, [1, ...whole.size]])
    assert.equal(fitMasks(tensor, positions).toNumbers(), whole.labels)
})

test('masks of yes-no decisions hold 0 and 1', async () => {
  const masks = Tensor.of('int64', [1, 1, 2], [1, -100])
  assert.equal(fitMasks(masks, [1, 2]).toNumbers(), [1, -100])
  await assertFails(
    () => fitMasks(masks, [1, 1, 2], true),
    'data: masks for yes-no decisions hold 0 and 1, found -100, which stands for pixels without a class',
  )
})

/** A grey or palette PNG of these numbers. */
async function png(size: readonly [number, number], numbers: readonly number[]): Promise<Buffer> {
  const raw = { width: size[1], height: size[0], channels: 1 } as const
  return sharp(Buffer.from(numbers), { raw }).toColourspace('b-w').png().toBuffer()
}

/** A colour image whose pixels are 10 times the numbers. */
async function picture(size: readonly [number, number], numbers: readonly number[]): Promise<Buffer> {
  const raw = { width: size[1], height: size[0], channels: 3 } as const
  const pixels = numbers.flatMap(number => [10 * number, 10 * number, 10 * number])
  return sharp(Buffer.from(pixels), { raw }).png().toBuffer()
}

const A = [0, 1, 2, 0, 1, 255]
const B = [3, 3, 0, 0]

async function pairs(root = temporaryFolder()): Promise<string> {
  return writeTree(
    {
      'images/a.png': await picture([2, 3], [0, 1, 2, 0, 1, 5]),
      'images/b.webp': await sharp(await picture([2, 2], B))
        .webp({ lossless: true })
        .toBuffer(),
      'masks/a.png': await png([2, 3], A),
      'masks/b.png': await png([2, 2], B),
    },
    root,
  )
}

test('a folder of images and masks: classes, counts, labels as losses know them', async () => {
  const root = await pairs()
  const dataset = await openDataset(root)
  assert.equal(dataset.classes, ['0', '1', '2', '3'])
  assert.equal(dataset.targets[0]!.dims, [0, 0])
  assert.equal(dataset.targets[0]!.mask, { field: '0', ignored: -100 })
  assert.equal([dataset.sampleName(0), dataset.sampleName(1)], ['a.png', 'b.webp'])
  assert.equal([...dataset.maskCounts!(0)!], [2, 2, 1])
  assert.equal([...dataset.maskCounts!(1)!], [2, 0, 0, 2])
  const { inputs, masks } = await dataset.load(0)
  assert.equal(inputs[0]!.dims, [2, 3, 3])
  assert.equal([...masks![0]!.labels], [0, 1, 2, 0, 1, -100])
  const cached = withCache(dataset, 1e6)
  assert.equal([await cached.load(1), await cached.load(1)], [await dataset.load(1), await dataset.load(1)])

  const other = await openDataset(root, { ignoreIndex: 1, classNames: [...Array(256).keys()].map(String) })
  assert.equal([...(await other.load(0)).masks![0]!.labels], A)
  assert.equal([...other.maskCounts!(0)!].slice(0, 4), [2, 0, 1, 0])
  const valued = await openDataset(root, { maskValues: [3, 2, 1, 0] })
  assert.equal([...(await valued.load(0)).masks![0]!.labels], [3, 2, 1, 3, 2, -100])

  const before = fingerprintDataset(dataset)
  writeFileSync(join(root, 'masks/b.png'), await png([2, 2], [3, 0, 0, 0]))
  assert.not.equal(fingerprintDataset(await openDataset(root)), before)
})

test('other names of the two folders, and folders of splits around and inside', async () => {
  for (const [images, masks] of [
    ['image', 'mask'],
    ['img', 'labels'],
    ['imgs', 'label'],
    ['JPEGImages', 'Annotations'],
  ]) {
    const root = writeTree({
      [`${images}/a.png`]: await picture([1, 2], [0, 1]),
      [`${masks}/a.png`]: await png([1, 2], [0, 1]),
    })
    assert.equal((await openDataset(root)).targets[0]!.dims, [1, 2], images)
  }
  const root = await pairs(join(temporaryFolder(), 'd/train'))
  const data = join(root, '..')
  mkdirSync(join(data, 'val'))
  await pairs(join(data, 'val'))
  writeFileSync(join(data, 'val/masks/b.png'), await png([2, 2], [0, 0, 0, 0]))
  const [train, val] = await openTrainAndVal(data)
  assert.equal([train.name, val.name], [`${data} (train)`, `${data} (val)`])
  assert.equal(val.classes, train.classes)
  const inside = writeTree({
    'images/training/a.png': await picture([1, 2], [0, 1]),
    'images/validation/b.png': await picture([1, 2], [0, 1]),
    'annotations/training/a.png': await png([1, 2], [0, 1]),
    'annotations/validation/b.png': await png([1, 2], [0, 1]),
  })
  assert.is((await openDataset(inside, { split: 'val' })).sampleName(0), 'b.png')
})

test('folders that are wrong are refused with the file', async () => {
  const one = await png([1, 2], [0, 1])
  const image = await picture([1, 2], [0, 1])
  const good = { 'images/a.png': image, 'masks/a.png': one }
  const cases: [Record<string, Uint8Array | string>, object, string][] = [
    [{ ...good, 'images/b.png': image }, {}, "mask folder /masks: no mask for 'b.png' of /images"],
    [{ ...good, 'masks/b.png': one }, {}, "mask folder /masks: no image in /images for 'b.png'"],
    [{ ...good, 'masks/a.jpg': 'x' }, {}, "mask folder /masks: expected PNG masks, found 'a.jpg'"],
    [{ ...good, 'images/a.jpg': image }, {}, "mask folder /images: 'a.jpg' and 'a.png' have one name"],
    [
      { ...good, 'img/a.png': image },
      {},
      "mask folder /: expected one folder of images and one of masks, found 'images', 'img', 'masks'",
    ],
    [
      { ...good, 'masks/a.png': await png([2, 1], [0, 1]) },
      {},
      'mask /masks/a.png: it is 2x1, its image /images/a.png 1x2 (height x width)',
    ],
    [
      { ...good, 'masks/a.png': await png([1, 2], [0, 9]) },
      { classNames: ['x', 'y'] },
      'mask /masks/a.png: 9 at row 0, column 1: expected a class from 0 to 1, or 255 where there is none',
    ],
    [
      { ...good, 'masks/a.png': await png([1, 2], [0, 255]) },
      {},
      'mask folder /masks: masks hold 0 and 255 alone, and 255 stands for pixels without a class',
    ],
    [good, { maskValues: [0, 255] }, 'mask /masks/a.png: 1 at row 0, column 1: expected one of 0, 255'],
    [
      good,
      { maskValues: [0, 9], ignoreIndex: 1 },
      '--ignore-index 1: with --mask-values 0,9 it would be a class',
    ],
    [
      { ...good, 'masks/a.png': await png([1, 2], [255, 255]) },
      {},
      'mask folder /masks: no pixel of 1 masks has a class',
    ],
    [
      { ...good, 'masks/a.png': fixture('rgb') },
      {},
      'mask /masks/a.png: expected one channel of classes, found RGB',
    ],
  ]
  for (const [files, options, message] of cases) {
    const root = writeTree(files)
    await assertFails(() => openDataset(root, options), message, { root })
  }
})

/** Images [n,h,w] of bytes label * 40 + 20, with the labels as masks: wherever a pixel goes, its class shows. */
function marked(count: number, height: number, width: number): ArrayDataset {
  const labels = Int32Array.from({ length: count * height * width }, (_, i) => (i * i + (i >> 3)) % 5)
  return new ArrayDataset(
    'marked',
    [{ name: '0', dims: [count, height, width], data: Uint8Array.from(labels, label => label * 40 + 20) }],
    { name: 'y', dims: [count, height, width], data: labels, integer: true, kind: 'class' },
    {},
  )
}

async function assertFollows(dataset: Dataset, augment: Partial<Augment>, crop = { height: 9, width: 12 }) {
  const transforms = withAugment({ ...RAW, crop }, augment)
  const loader = new BatchLoader(dataset, { batchSize: 8, seed: 3, mode: 'train', transforms })
  const { inputs, targets } = await loader.batch(0, 0)
  const mask = targets.get('0')!
  assert.equal([mask.dtype, mask.dims], ['int64', [8, crop.height, crop.width]])
  const expected = inputs
    .get('0')!
    .toNumbers()
    .map(pixel => (pixel === 0 ? -100 : (pixel - 20) / 40))
  assert.equal(mask.toNumbers(), expected)
  return { inputs, targets }
}

const MOVES: Readonly<Record<string, Partial<Augment>>> = {
  'a centre crop': { shift: 0, flip: 1e-9 },
  flips: { flip: 0.5, verticalFlip: 0.5 },
  'shifts to the outside': { shift: 5, flip: 0.5 },
  'shifts, the edge repeated': { shift: 5, verticalFlip: 0.5, fill: 'edge' },
  rotation: { rotation: 40, flip: 0.5 },
  'a part at its own size': {
    randomResizedCrop: { scale: [1, 1], ratio: [12 / 9, 12 / 9] },
    flip: 0.5,
  },
}
for (const [what, augment] of Object.entries(MOVES)) {
  test(`masks go where pixels go: ${what}`, async () => {
    const size = what.startsWith('a part') ? [9, 12] : [11, 13]
    const dataset = marked(8, size[0]!, size[1]!)
    const a = await assertFollows(dataset, augment)
    const b = await assertFollows(new Fetched(dataset), augment)
    assert.equal(a.targets.get('0')!.toNumbers(), b.targets.get('0')!.toNumbers())
  })
}

test('masks go where pixels go: the moves of RandAugment', () => {
  const dims: ImageDims = { height: 20, width: 16, channels: 1 }
  const labels = Int32Array.from({ length: 320 }, (_, i) => (i * 7 + (i >> 4)) % 5)
  const random = Random.of(4)
  let compared = 0
  for (let i = 0; i < 200; i++) {
    const moves: Affine[] = []
    const pixels = randAugment(
      Uint8Array.from(labels, label => label + 1),
      dims,
      { ops: 2, magnitude: 20 },
      random,
      moves,
    )
    if (moves.length < 2) continue // the other one changed colours
    compared++
    const moved = moves.reduce((mask, move) => transformAffine(mask, dims, move, -1), labels)
    assert.equal(
      Array.from(pixels, pixel => pixel - 1),
      [...moved],
    )
  }
  assert.ok(compared > 10)
})

test('a random part is the same of image and mask', async () => {
  // Four quarters, far from whose edges a scaled image has the colour of its class.
  const side = 32
  const quarter = (i: number) => 2 * Number((i >> 5) % side >= 16) + Number(i % side >= 16)
  const labels = Int32Array.from({ length: 8 * side * side }, (_, i) => quarter(i))
  const dataset = new ArrayDataset(
    'quarters',
    [{ name: '0', dims: [8, side, side], data: Uint8Array.from(labels, label => 60 * label) }],
    { name: 'y', dims: [8, side, side], data: labels, integer: true, kind: 'class' },
    {},
  )
  const crop = { height: 24, width: 24 }
  const transforms = withAugment({ ...RAW, crop }, { randomResizedCrop: RANDOM_RESIZED_CROP, flip: 0.5 })
  const loader = new BatchLoader(dataset, { batchSize: 8, seed: 1, mode: 'train', transforms })
  const { inputs, targets } = await loader.batch(0, 0)
  const pixels = inputs.get('0')!.toNumbers()
  const mask = targets.get('0')!.toNumbers()
  let pure = 0
  pixels.forEach((pixel, i) => {
    if (pixel % 60 !== 0 || ![-1, 1, -24, 24].every(step => pixels[i + step] === pixel)) return
    pure++
    assert.is(mask[i], pixel / 60, `pixel ${i}`)
  })
  assert.ok(pure > pixels.length / 2, `${pure} pixels of one colour`)
  const erased = withAugment(
    { ...RAW, crop },
    { erasing: { probability: 1, scale: [0.2, 0.3], ratio: [1, 1], value: 'zero' } },
  )
  const still = await new BatchLoader(dataset, {
    batchSize: 8,
    seed: 1,
    mode: 'train',
    transforms: erased,
  }).batch(0, 0)
  assert.not.ok(still.targets.get('0')!.toNumbers().includes(-100), 'erasing hides pixels, not their classes')
})

test('the class of what comes from outside can be said', async () => {
  const transforms = withAugment(RAW, { shift: 3 })
  const loader = new BatchLoader(marked(8, 5, 5), {
    batchSize: 8,
    seed: 1,
    mode: 'train',
    transforms,
    outside: 0,
  })
  assert.not.ok((await loader.batch(0, 0)).targets.get('0')!.toNumbers().includes(-100))
})

test('targets that cannot follow are refused, where images are moved', async () => {
  const { columns, fields } = marked(8, 4, 4)
  const image = { name: '0', dims: [8, ...fields[0]!.dims!], data: columns.inputs[0]! }
  const small = {
    name: 'y',
    dims: [8, 2, 2],
    data: new Int32Array(32),
    integer: true,
    kind: 'class' as const,
  }
  const depth = { name: 'y', dims: [8, 4, 4], data: new Float32Array(128), integer: false }
  const open = (target: typeof small | typeof depth, augment: Partial<Augment>) => () =>
    new BatchLoader(new ArrayDataset('made', [image], target, {}), {
      ...{ batchSize: 8, seed: 1, mode: 'train', transforms: withAugment(RAW, augment) },
    })
  await assertFails(
    open(small, { flip: 0.5 }),
    'augmentation: target "0" of made has classes at positions [2,2], which cannot follow an image that is moved',
  )
  await assertFails(
    open(depth, { rotation: 5 }),
    /^augmentation: target "0" of made has numbers at positions \[4,4\]/,
  )
  open(depth, { erasing: { probability: 1, scale: [0.1, 0.2], ratio: [1, 1], value: 'zero' } })()
})

test('CutMix pastes masks with their images; MixUp of masks is refused', async () => {
  const dataset = marked(8, 11, 13)
  const loader = new BatchLoader(dataset, { batchSize: 8, seed: 3, mode: 'train', transforms: RAW })
  const batch = await loader.batch(0, 0)
  const mix = { mixup: 0, cutmix: 1, probability: 1, switchProbability: 0 }
  const options = { mix, seed: 2, classes: 5, transforms: { '0': RAW }, masks: new Map([['0', '0']]) }
  const mixed = mixBatch(batch, options)
  const pixels = mixed.inputs.get('0')!.toNumbers()
  assert.equal(
    mixed.targets.get('0')!.toNumbers(),
    pixels.map(pixel => (pixel - 20) / 40),
  )
  assert.not.equal(pixels, batch.inputs.get('0')!.toNumbers())
  await assertFails(
    () => mixBatch(batch, { ...options, mix: { ...mix, mixup: 0.2 } }),
    '--mixup: masks hold one class for each pixel, which cannot be blended',
    { cure: 'use --cutmix, which pastes masks with their images' },
  )
})

test.run()
