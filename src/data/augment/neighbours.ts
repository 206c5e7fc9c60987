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
  const result = new (pixels.constructor as new (length: number) => T)(pixels.length)
  if (fill !== 0) result.fill(fill)
  let to = 0
  for (let y = 0; y < height; y++) {
    const [columnOfRow, rowOfRow] = [b * (y + 0.5), e * (y + 0.5)]
    for (let x = 0; x < width; x++, to += channels) {
      const column = a * (x + 0.5) + columnOfRow + c
      const row = d * (x + 0.5) + rowOfRow + f
      if (!(column >= 0 && column < width && row >= 0 && row < height)) continue
      const from = ((row | 0) * width + (column | 0)) * channels
      result[to] = pixels[from]!
      for (let k = 1; k < channels; k++) result[to + k] = pixels[from + k]!
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
/** The blurred level of every sum of thirteenths. */
const BLURRED = Float64Array.from({ length: 13 * 255 + 1 }, (_, sum) => Math.round(sum / 13))

/** adjust_sharpness: 0 blurs, 1 changes nothing, 2 sharpens. */
export function adjustSharpness(pixels: Uint8Array, dims: ImageDims, factor: number): Uint8Array {
  const { height, width, channels } = dims
  const result = pixels.slice()
  if (height <= 2 || width <= 2) return result
  const pitch = width * channels
  // Of every level, and of every sum of thirteenths.
  const share = Float64Array.from({ length: 256 }, (_, level) => Math.fround(factor) * level)
  const rest = BLURRED.map(level => Math.fround(1 - factor) * level)
  for (let y = 1; y < height - 1; y++) {
    for (let at = y * pitch + channels; at < (y + 1) * pitch - channels; at++) {
      const own = pixels[at]!
      const [above, below] = [at - pitch, at + pitch]
      const sum =
        CENTER * own +
        (pixels[above - channels]! + pixels[above]! + pixels[above + channels]!) +
        (pixels[at - channels]! + pixels[at + channels]!) +
        (pixels[below - channels]! + pixels[below]! + pixels[below + channels]!)
      const level = Math.fround(share[own]! + rest[sum]!)
      result[at] = level < 0 ? 0 : level > 255 ? 255 : level
    }
  }
  return result
}
