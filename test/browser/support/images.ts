/** A folder of class folders with small images, some bytes of them different in each. */

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import sharp from 'sharp'

const SIDE = 28
const CLASSES = ['0', '1', '2', '3']

/** Writes `count` gray images of 28x28; pixel p of image i is (31 i + 7 p) mod 256. Returns the folder. */
export async function writeImages(folder: string, count: number): Promise<string> {
  for (let i = 0; i < count; i++) {
    const place = join(folder, CLASSES[i % CLASSES.length]!)
    mkdirSync(place, { recursive: true })
    const pixels = Uint8Array.from({ length: SIDE * SIDE }, (_, p) => (31 * i + 7 * p) & 255)
    await sharp(pixels, { raw: { width: SIDE, height: SIDE, channels: 1 } })
      .png()
      .toFile(join(place, `${i}.png`))
  }
  return folder
}
