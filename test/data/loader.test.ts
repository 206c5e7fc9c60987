/** Batches: content, position, resumption, order, errors. */

import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ArrayDataset } from '../../src/data/array-dataset.ts'
import type { Dataset } from '../../src/data/dataset.ts'
import { withCache, CachedDataset } from '../../src/data/image-cache.ts'
import { openImageFolder } from '../../src/data/image-folder.ts'
import { BatchLoader, padBatch, type Batch, type LoaderOptions } from '../../src/data/loader.ts'
import { openDataset } from '../../src/data/open.ts'
import { splitDataset, subset } from '../../src/data/subset.ts'
import { tensorTransforms } from '../../src/data/transforms-default.ts'
import { RANDOM_RESIZED_CROP, withAugment, type Transforms } from '../../src/data/transforms.ts'
import type { Tensor } from '../../src/tensor/tensor.ts'
import { assertFails, FIXTURES, writeTree } from './files.ts'
import { Fetched, images, labelled, RAW } from './make.ts'

function loaderOf(dataset: Dataset, options: Partial<LoaderOptions> = {}): BatchLoader {
  return new BatchLoader(dataset, { batchSize: 4, seed: 11, mode: 'eval', transforms: RAW, ...options })
}

async function collect(batches: AsyncIterable<Batch>): Promise<Batch[]> {
  const all: Batch[] = []
  for await (const batch of batches) all.push(batch)
  return all
}

/** Everything that a batch says, comparable. */
function plain({ inputs, targets, ...rest }: Batch) {
  const listed = (tensors: ReadonlyMap<string, Tensor>) =>
    [...tensors].map(([name, tensor]) => [name, tensor.dtype, tensor.dims, tensor.toNumbers()])
  return { ...rest, tensors: listed(inputs), targets: listed(targets) }
}

const augmented = withAugment(RAW, { flip: 0.5, shift: 2 })

test('evaluation gives every sample once, the last batch ragged', async () => {
  const batches = await collect(loaderOf(images(10, 2, 3)).batches(0))
  assert.equal(
    batches.map(batch => [
      batch.index,
      batch.size,
      batch.inputs.get('0')!.dims,
      batch.targets.get('0')!.dims,
    ]),
    [
      [0, 4, [4, 1, 2, 3], [4]],
      [1, 4, [4, 1, 2, 3], [4]],
      [2, 2, [2, 1, 2, 3], [2]],
    ],
  )
  assert.equal(
    batches.flatMap(batch => [...batch.sampleIndices]),
    [...Array(10).keys()],
  )
  const pixels = batches[2]!.inputs.get('0')!.toNumbers()
  assert.equal(
    pixels,
    [8, 9].flatMap(i => [0, 1, 2, 3, 4, 5].map(p => (31 * i + 7 * p) & 255)),
  )
  assert.is(batches[2]!.targets.get('0')!.dtype, 'int64')
  assert.equal(batches[2]!.targets.get('0')!.toNumbers(), [2, 0])
})

for (const [what, make] of [
  ['in memory', (dataset: Dataset) => dataset],
  ['fetched one by one', (dataset: Dataset) => new Fetched(dataset)],
] as const) {
  test(`batches(epoch, k) is the tail of batches(epoch, 0): samples ${what}`, async () => {
    const options = { mode: 'train', transforms: augmented } as const
    const whole = await collect(loaderOf(make(images(23, 5, 6)), options).batches(3))
    assert.is(whole.length, 5)
    for (const start of [0, 1, 4, 5]) {
      const tail = await collect(loaderOf(make(images(23, 5, 6)), options).batches(3, start))
      assert.equal(tail.map(plain), whole.slice(start).map(plain))
    }
    const single = await loaderOf(make(images(23, 5, 6)), options).batch(3, 2)
    assert.equal(plain(single), plain(whole[2]!))
    const next = await loaderOf(make(images(23, 5, 6)), options).batch(4, 2)
    assert.not.equal(plain(next).tensors, plain(whole[2]!).tensors)
  })
}

test('samples in memory and samples fetched give the same batches', async () => {
  const crop = { height: 4, width: 4 }
  const variants: Transforms[] = [
    augmented,
    { ...RAW, resize: { short: 4 }, crop },
    withAugment({ ...RAW, crop }, { flip: 0.5, randomResizedCrop: RANDOM_RESIZED_CROP }),
  ]
  for (const transforms of variants) {
    const options = { mode: 'train', transforms } as const
    const [, memory] = splitDataset(images(40, 7, 6), 0.5, 1)
    const fetched = new Fetched(memory)
    const [a, b] = await Promise.all([memory, fetched].map(set => collect(loaderOf(set, options).batches(0))))
    assert.equal(a!.map(plain), b!.map(plain))
  }
})

test('no more samples are decoded at a time than allowed', async () => {
  const dataset = new Fetched(images(30, 2, 2))
  await collect(loaderOf(dataset, { concurrency: 3, prefetch: 4 }).batches(0))
  assert.is(dataset.most, 3)
  assert.equal(
    [...dataset.loads].sort((a, b) => a - b),
    [...Array(30).keys()],
  )
})

test('a broken sample fails its batch, after the batches before it', async () => {
  const seen: number[] = []
  let message = ''
  try {
    for await (const batch of loaderOf(new Fetched(images(30, 2, 2), 9)).batches(0)) seen.push(batch.index)
  } catch (error) {
    message = (error as Error).message
  }
  assert.equal(seen, [0, 1])
  assert.is(message, 'sample 9 is broken')
})

test('an abort leaves the samples not yet begun', async () => {
  const dataset = new Fetched(images(400, 2, 2))
  const controller = new AbortController()
  const loader = loaderOf(dataset, { concurrency: 2, prefetch: 10 })
  let thrown: unknown
  try {
    for await (const _ of loader.batches(0, 0, controller.signal)) controller.abort(new Error('enough'))
  } catch (error) {
    thrown = error
  }
  assert.is((thrown as Error).message, 'enough')
  assert.ok(dataset.loads.length < 20, String(dataset.loads.length))
})

test('training drops what fills no batch and says how many samples it shows', () => {
  const train = loaderOf(images(23, 2, 2), { mode: 'train' })
  assert.equal([train.length, train.samples], [5, 20])
  const evaluation = loaderOf(images(23, 2, 2))
  assert.equal([evaluation.length, evaluation.samples], [6, 23])
})

test('evaluation does not augment, even with transforms that do', async () => {
  const [plainBatch, other] = await Promise.all(
    [RAW, augmented].map(transforms => loaderOf(images(4, 5, 5), { transforms }).batch(0, 0)),
  )
  assert.equal(plain(plainBatch!), plain(other!))
})

test('values as targets keep their dims', async () => {
  const y = Float32Array.of(1, 2, 3, 4, 5, 6)
  const dataset = new ArrayDataset(
    'v',
    [{ name: '0', dims: [3, 1], data: Float32Array.of(1, 2, 3) }],
    { name: 'y', dims: [3, 2], data: y, integer: false },
    {},
  )
  const transforms = tensorTransforms()
  const batch = await loaderOf(subset(dataset, [2, 0]), { transforms }).batch(0, 0)
  assert.equal(plain(batch).targets, [['0', 'float32', [2, 2], [5, 6, 1, 2]]])
  assert.equal(plain(batch).tensors, [['0', 'float32', [2, 1], [3, 1]]])
})

test('several inputs, by name, each with its own transforms', async () => {
  const dataset = await openDataset(join(FIXTURES, 'npz', 'two-inputs.npz'), {
    inputs: ['image', 'token_ids'],
  })
  const transforms = { image: RAW, token_ids: tensorTransforms(null, 'int64') }
  const batch = await loaderOf(dataset, { transforms, batchSize: 3 }).batch(0, 3)
  assert.equal([...batch.inputs.keys()], ['image', 'token_ids'])
  assert.equal(batch.inputs.get('image')!.dims, [3, 3, 4, 5])
  assert.equal(plain(batch).tensors[1], ['token_ids', 'int64', [3, 2], [18, 19, 20, 21, 22, 23]])
  assert.equal(batch.targets.get('0')!.dims, [3, 2])
  await assertFails(
    () => loaderOf(dataset, { transforms: { image: RAW } }),
    `data: input 'token_ids' of ${dataset.name} has no transforms`,
  )
})

test('a padded batch repeats its first sample and keeps its size', async () => {
  const short = await loaderOf(images(6, 2, 2)).batch(0, 1)
  const padded = padBatch(short, 4)
  assert.is(padded.size, 2)
  const [fifth, sixth] = [4, 5].map(i => [0, 7, 14, 21].map(pixel => 31 * i + pixel))
  const rows = [...fifth!, ...sixth!, ...fifth!, ...fifth!]
  assert.equal(plain(padded).tensors, [['0', 'float32', [4, 1, 2, 2], rows]])
  assert.equal(padded.targets.get('0')!.toNumbers(), [1, 2, 1, 1])
  assert.is(padBatch(padded, 2), padded)
})

function threeImages(): string {
  const root = writeTree({})
  const files = { a: 'portrait.png', b: 'gray.png', c: 'landscape.jpg' }
  for (const [name, file] of Object.entries(files)) {
    mkdirSync(join(root, name))
    copyFileSync(join(FIXTURES, 'images', file), join(root, name, file))
  }
  return root
}

test('images of different sizes need a common size', async () => {
  const root = threeImages()
  const loader = loaderOf(await openImageFolder(root))
  assert.equal(loader.sampleDims, [null])
  await assertFails(
    () => loader.batch(0, 0),
    '/: images of one batch differ in size: a/portrait.png is [3,61,47], b/gray.png is [3,30,40]',
    { root, cure: 'add a crop or an exact resize to the transforms' },
  )
})

test('the cache changes no byte, spares decoding, and keeps within its bound', async () => {
  const folder = await openImageFolder(threeImages())
  const transforms = { ...augmented, resize: { short: 16 }, crop: { height: 16, width: 16 } }
  const options = { mode: 'train', transforms, batchSize: 3 } as const
  const epochs = async (dataset: Dataset) => {
    const loader = loaderOf(dataset, options)
    return [...(await collect(loader.batches(0))), ...(await collect(loader.batches(1)))].map(plain)
  }
  const expected = await epochs(folder)
  for (const [capacity, loads] of [
    [1e6, 3],
    [16 * 21 * 3, 5],
    [100, 6],
  ] as const) {
    const fetched = new Fetched(folder)
    const cached = withCache(fetched, capacity)
    assert.equal(await epochs(cached), expected)
    assert.is(fetched.loads.length, loads, `loads with ${capacity} bytes`)
    assert.ok(cached instanceof CachedDataset && cached.bytes <= capacity)
  }
  const random = withAugment(transforms, { randomResizedCrop: RANDOM_RESIZED_CROP })
  const fetched = new Fetched(folder)
  const loader = loaderOf(withCache(fetched, 1e6), { ...options, transforms: random })
  await collect(loader.batches(0))
  await collect(loader.batches(1))
  assert.is(fetched.loads.length, 6, 'random regions are not kept')
})

test('data in memory and no capacity need no cache', () => {
  const memory = images(3, 2, 2)
  assert.is(withCache(memory, 1e6), memory)
  const fetched = new Fetched(memory)
  assert.is(withCache(fetched, 0), fetched)
})

test('labels are checked', async () => {
  await assertFails(
    () => labelled([0, -1]),
    "made: label -1 in row 1 of 'y': expected a class index from 0 to 99999",
    { cure: 'numbers to be predicted are taken with --target-kind values' },
  )
  await assertFails(
    () => labelled([0, 1], { classNames: ['a'] }),
    'made: label 1 has no name, only 1 are known',
  )
})

test.run()
