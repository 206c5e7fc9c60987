/** What RandAugment does to the levels of bytes, each channel by itself: torchvision.transforms.functional on uint8. */

import type { ImageDims } from '../dataset.ts'
import { mapLevels } from './color.ts'

const LEVELS = Array.from({ length: 256 }, (_, level) => level)

/** Keeps the highest `bits` bits. */
export function posterize(pixels: Uint8Array, bits: number): void {
  const mask = -(2 ** (8 - bits)) & 255
  for (let i = 0; i < pixels.length; i++) pixels[i]! &= mask
}

/** Inverts levels from the threshold on. */
export function solarize(pixels: Uint8Array, threshold: number): void {
  const table = LEVELS.map(level => (level >= threshold ? 255 - level : level))
  mapLevels(pixels, table)
}

/** Each channel through a table that is made from its histogram; null leaves it. */
function byHistogram(
  pixels: Uint8Array,
  { channels }: ImageDims,
  makeTable: (histogram: Uint32Array) => readonly number[] | null,
): void {
  for (let c = 0; c < channels; c++) {
    const histogram = new Uint32Array(256)
    for (let i = c; i < pixels.length; i += channels) histogram[pixels[i]!]!++
    const table = makeTable(histogram)
    if (table) for (let i = c; i < pixels.length; i += channels) pixels[i] = table[pixels[i]!]!
  }
}

/** Stretches each channel to 0 ... 255; a channel of one level stays. */
export function autocontrast(pixels: Uint8Array, dims: ImageDims): void {
  byHistogram(pixels, dims, histogram => {
    const low = histogram.findIndex(count => count > 0)
    const high = histogram.findLastIndex(count => count > 0)
    if (low === high) return null
    const scale = Math.fround(255 / (high - low))
    return LEVELS.map(level => Math.min(Math.max(Math.trunc(Math.fround((level - low) * scale)), 0), 255))
  })
}

/** Spreads each channel's levels evenly, with Pillow's integer arithmetic. */
export function equalize(pixels: Uint8Array, dims: ImageDims): void {
  byHistogram(pixels, dims, histogram => {
    const highest = histogram.findLastIndex(count => count > 0)
    const below = histogram.reduce((sum, count, level) => sum + (level === highest ? 0 : count), 0)
    const step = Math.floor(below / 255)
    if (step === 0) return null
    let sum = 0
    return LEVELS.map(level => {
      const to = Math.min(Math.floor((sum + Math.floor(step / 2)) / step), 255)
      sum += histogram[level]!
      // The table of torchvision is shifted by one: what lies below a level decides; level 0 becomes 0.
      return level === 0 ? 0 : to
    })
  })
}
