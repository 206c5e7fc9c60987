/** torchvision.transforms.RandomErasing (Zhong et al. 2017): a rectangle of the normalised image is overwritten. */

import { roundHalfEven } from '../../tensor/dtype.ts'
import type { Random } from '../../util/random.ts'
import type { ImageDims } from '../dataset.ts'
import type { Region } from '../geometry.ts'
import { uniform } from './color-jitter.ts'

export interface RandomErasing {
  readonly probability: number
  /** Smallest and largest part of the image's area. */
  readonly scale: readonly [number, number]
  /** Smallest and largest height / width. */
  readonly ratio: readonly [number, number]
  /** Zeros (the mean), or normal noise for each pixel. */
  readonly value: 'zero' | 'random'
}

/** RandomErasing.get_params: ten tries for a rectangle smaller than the image, else none. */
export function erasedRegion(
  { height, width }: ImageDims,
  { scale, ratio }: RandomErasing,
  random: Random,
): Region | null {
  for (let i = 0; i < 10; i++) {
    const area = height * width * uniform(random, ...scale)
    const aspect = Math.exp(uniform(random, Math.log(ratio[0]), Math.log(ratio[1])))
    const size = {
      height: roundHalfEven(Math.sqrt(area * aspect)),
      width: roundHalfEven(Math.sqrt(area / aspect)),
    }
    if (size.height >= height || size.width >= width) continue
    return {
      top: random.integer(height - size.height + 1),
      left: random.integer(width - size.width + 1),
      ...size,
    }
  }
  return null
}

/** Overwrites a region of an image at out[at]: planes of channels, or channels last. */
export function erase(
  out: Float32Array,
  at: number,
  { height, width, channels }: ImageDims,
  channelsLast: boolean,
  region: Region,
  next: () => number,
): void {
  const [column, plane] = channelsLast ? [channels, 1] : [1, height * width]
  for (let c = 0; c < channels; c++) {
    for (let y = region.top; y < region.top + region.height; y++) {
      const row = at + c * plane + y * width * column
      for (let x = region.left; x < region.left + region.width; x++) out[row + x * column] = next()
    }
  }
}
