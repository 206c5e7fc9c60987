/**
 * Colour changes of bytes, as torchvision.transforms.functional makes them of uint8 tensors: sums in float32, cut off (not
 * rounded) to bytes. Images are HWC with 1 or 3 channels, and are changed in place.
 */

import type { ImageDims } from '../dataset.ts'

const { fround } = Math

/** Each level times a factor, in float32. */
function scaled(factor: number): Float32Array {
  return Float32Array.from({ length: 256 }, (_, level) => fround(factor) * level)
}

/** Weights of _functional_tensor.rgb_to_grayscale. */
const RED = scaled(0.2989)
const GREEN = scaled(0.587)
const BLUE = scaled(0.114)

/** The gray level of the pixel at `at`, cut off to a byte. */
function grayAt(pixels: Uint8Array, at: number): number {
  return fround(fround(RED[pixels[at]!]! + GREEN[pixels[at + 1]!]!) + BLUE[pixels[at + 2]!]!) | 0
}

/** Every byte through a table. */
export function mapLevels(pixels: Uint8Array, table: ArrayLike<number>): void {
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[pixels[i]!]!
}

/** factor * level + rest, cut off to 0 ... 255. */
function blendTable(factor: number, rest: number): Uint8Array {
  const levels = scaled(factor)
  return Uint8Array.from(levels, level => Math.min(Math.max(fround(level + fround(rest)), 0), 255))
}

/** adjust_brightness: 0 is black, 1 changes nothing. */
export function adjustBrightness(pixels: Uint8Array, factor: number): void {
  mapLevels(pixels, blendTable(factor, 0))
}

/** adjust_contrast: 0 is the mean gray level everywhere, 1 changes nothing. */
export function adjustContrast(pixels: Uint8Array, { channels }: ImageDims, factor: number): void {
  let sum = 0
  if (channels === 3) for (let at = 0; at < pixels.length; at += 3) sum += grayAt(pixels, at)
  else for (const level of pixels) sum += level
  const mean = (sum * channels) / pixels.length
  mapLevels(pixels, blendTable(factor, fround(1 - factor) * fround(mean)))
}

/** adjust_saturation: 0 is gray, 1 changes nothing. Gray images have none. */
export function adjustSaturation(pixels: Uint8Array, { channels }: ImageDims, factor: number): void {
  if (channels !== 3) return
  const own = scaled(factor)
  const gray = scaled(1 - factor)
  for (let at = 0; at < pixels.length; at += 3) {
    const rest = gray[grayAt(pixels, at)]!
    pixels[at] = toLevel(fround(own[pixels[at]!]! + rest))
    pixels[at + 1] = toLevel(fround(own[pixels[at + 1]!]! + rest))
    pixels[at + 2] = toLevel(fround(own[pixels[at + 2]!]! + rest))
  }
}

function toLevel(level: number): number {
  return level < 0 ? 0 : level > 255 ? 255 : level
}

/** adjust_hue: turns the colour circle by `shift` of a whole turn, from -0.5 to 0.5. Gray images stay. */
export function adjustHue(pixels: Uint8Array, { channels }: ImageDims, shift: number): void {
  if (channels !== 3) return
  for (let at = 0; at < pixels.length; at += 3) {
    const [r, g, b] = [pixels[at]!, pixels[at + 1]!, pixels[at + 2]!]
    const high = r > g ? (r > b ? r : b) : g > b ? g : b
    const low = r < g ? (r < b ? r : b) : g < b ? g : b
    const range = high - low
    if (range === 0) {
      pixels[at] = pixels[at + 1] = pixels[at + 2] = toByte(high / 255)
      continue
    }
    // _rgb2hsv: hue in sixths of a turn, from the channel that is the highest.
    const sixths = high === r ? (g - b) / range : high === g ? 2 + (b - r) / range : 4 + (r - g) / range
    let hue = sixths / 6 + shift
    hue -= Math.floor(hue)
    const sector = Math.floor(hue * 6)
    const part = hue * 6 - sector
    // _hsv2rgb: the highest, the lowest, and what falls or rises between them in this sector.
    const v = high / 255
    const s = range / high
    const p = v * (1 - s)
    const q = v * (1 - s * part)
    const t = v * (1 - s * (1 - part))
    const six = sector % 6
    pixels[at] = toByte(six === 0 || six === 5 ? v : six === 1 ? q : six === 4 ? t : p)
    pixels[at + 1] = toByte(six === 1 || six === 2 ? v : six === 0 ? t : six === 3 ? q : p)
    pixels[at + 2] = toByte(six === 3 || six === 4 ? v : six === 2 ? t : six === 5 ? q : p)
  }
}

/** convert_image_dtype from [0, 1]: 256 parts of nearly equal size. */
function toByte(value: number): number {
  return Math.trunc(value * (256 - 1e-3))
}
