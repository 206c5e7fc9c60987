/** Image folders: listing, labels, decoding, and what is wrong with a folder or file. */

import { readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { decodeImage } from '../../src/data/image-decode.ts'
import { openImageFolder } from '../../src/data/image-folder.ts'
import { assertFails, FIXTURES, writeTree } from './files.ts'

const IMAGES = join(FIXTURES, 'images')
const small = readFileSync(join(IMAGES, 'small.png'))

test('classes and files are sorted by name, nested files belong to their class', async () => {
  const root = writeTree({
    'b/2.png': small,
    'b/10.png': small,
    'a/deep/er/1.PNG': small,
    'a/z.jpeg': small,
    'a/notes.txt': 'no image',
    'B/x.webp': small,
    '.git/x.png': small,
    'loose.png': small,
  })
  symlinkSync(join(root, 'b'), join(root, 'c'))
  const dataset = await openImageFolder(root)
  assert.equal(dataset.classes, ['B', 'a', 'b', 'c'])
  const names = Array.from({ length: dataset.length }, (_, i) => dataset.sampleName(i))
  assert.equal(names, [
    'B/x.webp',
    'a/deep/er/1.PNG',
    'a/z.jpeg',
    'b/10.png',
    'b/2.png',
    'c/10.png',
    'c/2.png',
  ])
  assert.equal(
    names.map((_, i) => dataset.label(i)),
    [0, 1, 1, 2, 2, 3, 3],
  )
  assert.equal(dataset.notes, [`${root}: 1 images beside the class folders left out`])
  const { inputs } = await dataset.load(3)
  assert.is(dataset.target(3), 2)
  assert.equal(inputs[0]!.dims, [14, 20, 3])
})

test('a known mapping keeps its labels, absent classes keep their number', async () => {
  const root = writeTree({ 'dog/1.png': small, 'ant/1.png': small })
  const dataset = await openImageFolder(root, { classNames: ['dog', 'cat', 'ant'] })
  assert.equal(dataset.classes, ['dog', 'cat', 'ant'])
  assert.equal([dataset.label(0), dataset.label(1)], [2, 0])
  await assertFails(
    () => openImageFolder(root, { classNames: ['dog', 'cat'] }),
    "image folder /: class 'ant' is not among the known classes 'dog', 'cat'",
    { root },
  )
})

test('folders that are no image folders', async () => {
  const none = writeTree({ 'x.png': small })
  await assertFails(
    () => openImageFolder(none),
    'image folder /: expected a folder for each class, found none',
    { root: none },
  )
  const empty = writeTree({ 'a/1.png': small, 'b/readme.txt': '' })
  await assertFails(
    () => openImageFolder(empty),
    "image folder /: class 'b' has no images (.jpg, .jpeg, .png, .webp, .tif, .tiff, .gif, .avif)",
    { root: empty, cure: 'add images to the folder or remove it' },
  )
  const bitmap = writeTree({ 'a/1.png': small, 'a/2.bmp': 'BM' })
  await assertFails(
    () => openImageFolder(bitmap),
    "image folder /: 'a/2.bmp' is of a kind that cannot be decoded",
    { root: bitmap, cure: 'convert it to PNG or JPEG' },
  )
  const deep = writeTree({ [`a/${'d/'.repeat(40)}1.png`]: small })
  await assertFails(() => openImageFolder(deep), /^image folder .*: 'a(\/d)+' is more than 32 folders deep$/)
  await assertFails(() => openImageFolder(join(none, 'gone')), /^folder .*gone: ENOENT/)
})

test('files that cannot be decoded are named', async () => {
  const jpeg = readFileSync(join(IMAGES, 'landscape.jpg'))
  const root = writeTree({ 'cut.jpg': jpeg.subarray(0, 900), 'empty.jpg': '', 'text.jpg': 'no image at all' })
  await assertFails(
    () => decodeImage(join(root, 'cut.jpg')),
    /^image \/cut\.jpg: .*(?:premature|truncated|VipsJpeg)/i,
    { root },
  )
  await assertFails(() => decodeImage(join(root, 'empty.jpg')), 'image /empty.jpg: the file is empty', {
    root,
  })
  await assertFails(() => decodeImage(join(root, 'gone.jpg')), 'image /gone.jpg: no such file', { root })
  await assertFails(
    () => decodeImage(join(root, 'text.jpg')),
    /^image \/text\.jpg: Input file contains unsupported image format/,
    { root, cure: 'replace the file or take it out of the folder' },
  )
})

test('CMYK, 16-bit, gray with alpha and animated files become RGB bytes', async () => {
  const gray = { create: { width: 6, height: 4, channels: 3, background: '#808080' } } as const
  const root = writeTree({})
  await sharp(gray).toColourspace('cmyk').jpeg().toFile(join(root, 'cmyk.jpg'))
  await sharp(gray).toColourspace('rgb16').png().toFile(join(root, 'wide.png'))
  await sharp(gray).toColourspace('b-w').ensureAlpha(0.5).png().toFile(join(root, 'gray-alpha.png'))
  await sharp(gray).gif().toFile(join(root, 'still.gif'))
  for (const name of ['cmyk.jpg', 'wide.png', 'gray-alpha.png', 'still.gif']) {
    const { data, dims } = await decodeImage(join(root, name))
    assert.equal(dims, [4, 6, 3], name)
    assert.ok(data instanceof Uint8Array)
    // CMYK goes through colour profiles and comes back as 116.
    assert.ok(
      data.every(value => Math.abs(value - 128) <= 16),
      `${name}: ${[...data].join(' ')}`,
    )
  }
})

test('reducing a part of an image by libvips is near the exact result', async () => {
  const region = { top: 10, left: 5, height: 40, width: 50 }
  const size = { height: 20, width: 30 }
  const decode = (resample: 'fast' | 'exact') =>
    decodeImage(join(IMAGES, 'landscape.jpg'), { place: () => ({ region, size }), key: null, resample })
  const [fast, exact] = [await decode('fast'), await decode('exact')]
  assert.equal(fast.dims, [20, 30, 3])
  const errors = Array.from(fast.data, (value, i) => Math.abs(value - exact.data[i]!))
  assert.ok(Math.max(...errors) <= 4, String(Math.max(...errors)))
})

test.run()
