/** torchvision.transforms.ColorJitter: brightness, contrast, saturation and hue by chance, in an order by chance. */

import type { Random } from '../../util/random.ts'
import type { ImageDims } from '../dataset.ts'
import { adjustBrightness, adjustContrast, adjustHue, adjustSaturation } from './color.ts'

/** Factors are drawn from [1 - x, 1 + x] (not below 0), the turn of the hue from [-x, x] with x at most 0.5. */
export interface ColorJitter {
  readonly brightness: number
  readonly contrast: number
  readonly saturation: number
  readonly hue: number
}

/** Changes the pixels in place. */
export function jitterColors(pixels: Uint8Array, dims: ImageDims, jitter: ColorJitter, random: Random): void {
  const factor = (strength: number) => uniform(random, Math.max(0, 1 - strength), 1 + strength)
  const { brightness, contrast, saturation, hue } = jitter
  const changes = [
    brightness > 0 && ((by: number) => adjustBrightness(pixels, by)),
    contrast > 0 && ((by: number) => adjustContrast(pixels, dims, by)),
    saturation > 0 && ((by: number) => adjustSaturation(pixels, dims, by)),
    hue > 0 && ((by: number) => adjustHue(pixels, dims, by)),
  ]
  const order = random.permutation(changes.length)
  const amounts = [factor(brightness), factor(contrast), factor(saturation), uniform(random, -hue, hue)]
  for (const i of order) {
    const change = changes[i]
    if (change) change(amounts[i]!)
  }
}

export function uniform(random: Random, low: number, high: number): number {
  return low + (high - low) * random.float()
}
