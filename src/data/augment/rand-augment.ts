/**
 * torchvision.transforms.RandAugment (Cubuk et al. 2019): operations drawn from a list, all of one strength. The strength
 * is one of 31 steps; what an operation makes of it is torchvision's `_augmentation_space`.
 */

import type { Random } from '../../util/random.ts'
import type { ImageDims } from '../dataset.ts'
import { adjustBrightness, adjustContrast, adjustSaturation } from './color.ts'
import { autocontrast, equalize, posterize, solarize } from './levels.ts'
import {
  adjustSharpness,
  rotation,
  shearX,
  shearY,
  transformAffine,
  translateX,
  translateY,
  type Affine,
} from './neighbours.ts'

export interface RandAugment {
  /** Operations for each image. */
  readonly ops: number
  /** From 0 to 30. */
  readonly magnitude: number
}

/** torchvision's num_magnitude_bins. */
export const MAGNITUDE_BINS = 31

/**
 * What an operation gets: the strength from 0 to 1, and 1 or -1 for operations that know two directions. It moves pixels, or
 * changes them.
 */
type Operation =
  | { readonly move: (strength: number, dims: ImageDims) => Affine }
  | {
      readonly change: (pixels: Uint8Array, dims: ImageDims, strength: number, sign: number) => Uint8Array
    }

const affine = (move: (strength: number, dims: ImageDims) => Affine): Operation => ({ move })

const inPlace = (
  change: (pixels: Uint8Array, dims: ImageDims, strength: number, sign: number) => void,
): Operation => ({
  change: (pixels, dims, strength, sign) => {
    change(pixels, dims, strength, sign)
    return pixels
  },
})

const MOST_SHEAR = 0.3
const MOST_DEGREES = 30
const MOST_BLEND = 0.9
/** Of the side of an image: 150 pixels of 331 in AutoAugment's paper. */
const MOST_SHIFT = 150 / 331

export const OPERATIONS = {
  Identity: { change: pixels => pixels },
  ShearX: affine(strength => shearX(MOST_SHEAR * strength)),
  ShearY: affine(strength => shearY(MOST_SHEAR * strength)),
  TranslateX: affine((strength, { width }) => translateX(Math.trunc(MOST_SHIFT * width * strength))),
  TranslateY: affine((strength, { height }) => translateY(Math.trunc(MOST_SHIFT * height * strength))),
  Rotate: affine((strength, dims) => rotation(MOST_DEGREES * strength, dims)),
  Brightness: inPlace((pixels, _, strength, sign) => adjustBrightness(pixels, blend(strength, sign))),
  Color: inPlace((pixels, dims, strength, sign) => adjustSaturation(pixels, dims, blend(strength, sign))),
  Contrast: inPlace((pixels, dims, strength, sign) => adjustContrast(pixels, dims, blend(strength, sign))),
  Sharpness: {
    change: (pixels, dims, strength, sign) => adjustSharpness(pixels, dims, blend(strength, sign)),
  },
  Posterize: inPlace((pixels, _, strength) => posterize(pixels, 8 - Math.round(4 * strength))),
  Solarize: inPlace((pixels, _, strength) => solarize(pixels, 255 * (1 - strength))),
  AutoContrast: inPlace(autocontrast),
  Equalize: inPlace(equalize),
} as const satisfies Record<string, Operation>

/** Operations with two directions. */
const SIGNED: ReadonlySet<string> = new Set([
  'ShearX',
  'ShearY',
  'TranslateX',
  'TranslateY',
  'Rotate',
  'Brightness',
  'Color',
  'Contrast',
  'Sharpness',
])

const NAMES = Object.keys(OPERATIONS) as (keyof typeof OPERATIONS)[]

/** The factor of a blend: 1 changes nothing. */
function blend(strength: number, sign: number): number {
  return 1 + sign * MOST_BLEND * strength
}

/** The pixels after some operations; the array given may be changed. How they were moved is added to `moves`. */
export function randAugment(
  pixels: Uint8Array,
  dims: ImageDims,
  { ops, magnitude }: RandAugment,
  random: Random,
  moves: Affine[] = [],
): Uint8Array {
  const strength = magnitude / (MAGNITUDE_BINS - 1)
  let result = pixels
  for (let i = 0; i < ops; i++) {
    const name = NAMES[random.integer(NAMES.length)]!
    const sign = SIGNED.has(name) && random.integer(2) === 1 ? -1 : 1
    const operation: Operation = OPERATIONS[name]
    if ('change' in operation) result = operation.change(result, dims, strength, sign)
    else {
      const move = operation.move(sign * strength, dims)
      result = transformAffine(result, dims, move)
      moves.push(move)
    }
  }
  return result
}
