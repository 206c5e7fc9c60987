/** Which part of an image is taken, and at which size: torchvision's arithmetic, without touching a pixel. */

import { roundHalfEven } from '../tensor/dtype.ts'
import type { Random } from '../util/random.ts'
import type { ImageSize } from './dataset.ts'

export interface Region extends ImageSize {
  readonly top: number
  readonly left: number
}

/** Take `region` (null: everything) and scale it to `size`. */
export interface Placement {
  readonly region: Region | null
  readonly size: ImageSize
}

export interface Geometry {
  place(source: ImageSize): Placement
  /** Two geometries with the same key place alike; null: every use differs, so results are not worth keeping. */
  readonly key: string | null
  /** `fast`: libvips' linear kernel, in the background. `exact`: the bytes that Pillow's BILINEAR gives. */
  readonly resample: 'fast' | 'exact'
}

/** Either the length of the short side, or both sides whatever the proportions. */
export type Resize = { readonly short: number } | ImageSize

/** torchvision.transforms.functional._compute_resized_output_size: the long side is rounded down. */
export function resizedSize(source: ImageSize, resize: Resize | null): ImageSize {
  if (resize === null) return { height: source.height, width: source.width }
  if (!('short' in resize)) return { height: resize.height, width: resize.width }
  const { short } = resize
  const shortest = Math.min(source.height, source.width)
  const long = Math.floor((short * Math.max(source.height, source.width)) / shortest)
  return source.height <= source.width ? { height: short, width: long } : { height: long, width: short }
}

/**
 * torchvision center_crop: the offset is round((length - crop) / 2) with ties to even; an image that is too small is
 * padded, the odd pixel after it, which a negative offset expresses.
 */
export function centerOffset(length: number, crop: number): number {
  return crop > length ? -Math.floor((crop - length) / 2) : roundHalfEven((length - crop) / 2)
}

export interface RandomResizedCrop {
  /** Smallest and largest part of the image's area. */
  readonly scale: readonly [number, number]
  /** Smallest and largest width / height. */
  readonly ratio: readonly [number, number]
}

/** torchvision RandomResizedCrop.get_params: ten tries, then the largest central region whose proportions are allowed. */
export function randomRegion(source: ImageSize, crop: RandomResizedCrop, random: Random): Region {
  const { height, width } = source
  const between = (low: number, high: number) => low + (high - low) * random.float()
  const [narrowest, widest] = crop.ratio
  for (let i = 0; i < 10; i++) {
    const area = height * width * between(...crop.scale)
    const ratio = Math.exp(between(Math.log(narrowest), Math.log(widest)))
    const size = {
      height: roundHalfEven(Math.sqrt(area / ratio)),
      width: roundHalfEven(Math.sqrt(area * ratio)),
    }
    if (size.width < 1 || size.width > width || size.height < 1 || size.height > height) continue
    return {
      top: random.integer(height - size.height + 1),
      left: random.integer(width - size.width + 1),
      ...size,
    }
  }
  const ratio = width / height
  const size = {
    height: ratio < narrowest ? Math.max(1, roundHalfEven(width / narrowest)) : height,
    width: ratio > widest ? Math.max(1, roundHalfEven(height * widest)) : width,
  }
  return {
    top: Math.floor((height - size.height) / 2),
    left: Math.floor((width - size.width) / 2),
    ...size,
  }
}
