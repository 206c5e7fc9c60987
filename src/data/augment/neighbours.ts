/** What moves or mixes pixels of HWC bytes: affine maps by the nearest pixel, and sharpness. New arrays are returned. */

import type { ImageDims } from '../dataset.ts'

/** Where the pixel at x, y (pixel centres at halves) comes from: [a x + b y + c, d x + e y + f]. */
export type Affine = readonly [a: number, b: number, c: number, d: number, e: number, f: number]

/** Pillow's Image.transform(AFFINE, NEAREST): what comes from outside is black, or `fill`. */
export function transformAffine<T extends Uint8Array | Int32Array>(
  pixels: T,
  dims: ImageDims,
  [a, b, c, d, e, f]: Affine,
  fill = 0,
): T {
  const { height, width, channels } = dims
  const result = new (pixels.constructor as new (length: number) => T)(pixels.length).fill(fill) as T
  let to = 0
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++, to += channels) {
      const column = Math.floor(a * (x + 0.5) + b * (y + 0.5) + c)
      const row = Math.floor(d * (x + 0.5) + e * (y + 0.5) + f)
      if (column < 0 || column >= width || row < 0 || row >= height) continue
      const from = (row * width + column) * channels
      for (let k = 0; k < channels; k++) result[to + k] = pixels[from + k]!
    }
  }
  return result
}

/** Shear along x: what is `y` below the top comes from `amount * y` further right. */
export function shearX(amount: number): Affine {
  return [1, amount, 0, 0, 1, 0]
}

export function shearY(amount: number): Affine {
  return [1, 0, 0, amount, 1, 0]
}

/** Moves the image right by whole pixels. */
export function translateX(by: number): Affine {
  return [1, 0, -by, 0, 1, 0]
}

/** Moves the image down by whole pixels. */
export function translateY(by: number): Affine {
  return [1, 0, 0, 0, 1, -by]
}

/** Turns the image counter-clockwise about its centre. */
export function rotation(degrees: number, { height, width }: ImageDims): Affine {
  const angle = (degrees * Math.PI) / 180
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)]
  const [x, y] = [width / 2, height / 2]
  return [cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y]
}

/** Weights of _blurred_degenerate_image, in thirteenths; the edge is not blurred. */
const CENTER = 5

/** adjust_sharpness: 0 blurs, 1 changes nothing, 2 sharpens. */
export function adjustSharpness(pixels: Uint8Array, dims: ImageDims, factor: number): Uint8Array {
  const { height, width, channels } = dims
  const result = pixels.slice()
  if (height <= 2 || width <= 2) return result
  const pitch = width * channels
  for (let y = 1; y < height - 1; y++) {
    for (let at = y * pitch + channels; at < (y + 1) * pitch - channels; at++) {
      const own = pixels[at]!
      let sum = (CENTER - 1) * own
      for (let row = at - pitch; row <= at + pitch; row += pitch)
        sum += pixels[row - channels]! + pixels[row]! + pixels[row + channels]!
      const blurred = Math.round(sum / 13)
      const level = Math.fround(Math.fround(factor) * own + Math.fround(1 - factor) * blurred)
      result[at] = level < 0 ? 0 : level > 255 ? 255 : level
    }
  }
  return result
}
