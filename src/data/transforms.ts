/**
 * What happens between a raw sample and the model's input, as plain data: it goes into a run's config.json and comes
 * back from it. The stages run in the order of the fields; all randomness is in `augment`.
 */

import type { Shape } from '../tensor/shape.ts'
import type { ColorJitter } from './augment/color-jitter.ts'
import type { RandomErasing } from './augment/erasing.ts'
import type { RandAugment } from './augment/rand-augment.ts'
import type { RandomResizedCrop, Resize } from './geometry.ts'
import type { ImageSize } from './dataset.ts'

/** The dims that an image becomes: NCHW, NHWC, NHW (one channel, no axis for it) or flat (NCHW as one axis). */
export type OutputLayout = 'NCHW' | 'NHWC' | 'NHW' | 'flat'

export interface Augment {
  /** Probability of a mirror image, left for right. */
  readonly flip: number
  /** Probability of an image upside down. */
  readonly verticalFlip: number
  /** The crop is moved by up to this many pixels in each direction. */
  readonly shift: number
  /** What lies outside the image: zeros (torchvision RandomCrop's padding), or the nearest pixel. */
  readonly fill: 'zero' | 'edge'
  /** A random part of the image scaled to the output size, instead of resize and crop. */
  readonly randomResizedCrop: RandomResizedCrop | null
  /** Turned by up to so many degrees either way, black from outside (torchvision RandomRotation). */
  readonly rotation: number
  readonly randAugment: RandAugment | null
  readonly colorJitter: ColorJitter | null
  readonly erasing: RandomErasing | null
}

export interface ImageTransforms {
  readonly kind: 'image'
  readonly resize: Resize | null
  /** Libvips' linear kernel in the background, or Pillow's BILINEAR to the bit (slower for large photos). */
  readonly resample: 'fast' | 'exact'
  /** Centre crop; smaller images are padded with zeros. */
  readonly crop: ImageSize | null
  readonly augment: Augment | null
  /** 3 to 1 is luma 0.299 R + 0.587 G + 0.114 B as Pillow rounds it; 1 to 3 repeats; null keeps what there is. */
  readonly channels: 1 | 3 | null
  /** Pixels are divided by this, then (x - mean) / std per channel; one number serves all channels. */
  readonly divide: number
  readonly mean: readonly number[]
  readonly std: readonly number[]
  readonly layout: OutputLayout
}

/** Plain numbers: (x - mean) / std with one number for all or one for each element, in other dims if asked. */
export interface TensorTransforms {
  readonly kind: 'tensor'
  /** Dims of one sample; null keeps them. */
  readonly dims: Shape | null
  /** Integers (token numbers, ids) take no mean and std. */
  readonly dtype: 'float32' | 'int32' | 'int64'
  readonly mean: readonly number[]
  readonly std: readonly number[]
}

export type Transforms = ImageTransforms | TensorTransforms

export type PresetName = 'imagenet' | 'mnist' | 'none'

/** Normalisations by name; `none` only brings bytes to [0, 1]. */
export const PRESETS: Readonly<Record<PresetName, Pick<ImageTransforms, 'mean' | 'std'>>> = {
  imagenet: { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] },
  mnist: { mean: [0.1307], std: [0.3081] },
  none: { mean: [0], std: [1] },
}

export const NO_AUGMENT: Augment = {
  flip: 0,
  verticalFlip: 0,
  shift: 0,
  fill: 'zero',
  randomResizedCrop: null,
  rotation: 0,
  randAugment: null,
  colorJitter: null,
  erasing: null,
}

/** torchvision's RandomResizedCrop defaults. */
export const RANDOM_RESIZED_CROP: RandomResizedCrop = { scale: [0.08, 1], ratio: [3 / 4, 4 / 3] }

/** torchvision's RandomErasing defaults, but for the probability. */
export const RANDOM_ERASING: Omit<RandomErasing, 'probability'> = {
  scale: [0.02, 0.33],
  ratio: [0.3, 3.3],
  value: 'zero',
}

/** The same transforms with augmentation for training, or without for evaluation (`null`). */
export function withAugment<T extends Transforms>(transforms: T, augment: Partial<Augment> | null): T {
  if (transforms.kind === 'tensor') return transforms
  return { ...transforms, augment: augment && { ...NO_AUGMENT, ...augment } }
}
