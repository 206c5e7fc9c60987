/** A small labelled data set made on the spot: noisy pictures of ten patterns, as IDX files. */

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Random } from '../../src/util/random.ts'

/** Writes `count` pictures of 28x28 into `folder` as an IDX pair; classes are bright squares at ten places. */
export function writeDigits(folder: string, count: number, seed = 1): string {
  mkdirSync(folder, { recursive: true })
  const random = Random.of(seed)
  const images = new Uint8Array(count * 784)
  const labels = new Uint8Array(count)
  for (let n = 0; n < count; n++) {
    const label = n % 10
    labels[n] = label
    const [top, left] = [2 + 12 * Math.floor(label / 5), 1 + 5 * (label % 5)]
    for (let p = 0; p < 784; p++) {
      const [y, x] = [Math.floor(p / 28), p % 28]
      const inside = y >= top && y < top + 10 && x >= left && x < left + 5
      images[n * 784 + p] = (inside ? 120 : 0) + random.integer(130)
    }
  }
  writeFileSync(
    join(folder, 'train-images-idx3-ubyte'),
    Buffer.concat([header(0x803, [count, 28, 28]), images]),
  )
  writeFileSync(join(folder, 'train-labels-idx1-ubyte'), Buffer.concat([header(0x801, [count]), labels]))
  return folder
}

function header(magic: number, dims: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 + 4 * dims.length)
  bytes.writeUInt32BE(magic, 0)
  dims.forEach((dim, i) => bytes.writeUInt32BE(dim, 4 + 4 * i))
  return bytes
}
