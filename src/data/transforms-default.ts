/** Sensible transforms for a model's input and a data set's field, when the person says nothing. */

import { formatShape, sizeOf, type Shape } from '../tensor/shape.ts'
import { UsageError } from '../util/errors.ts'
import { imageDims, type Field, type ImageSize } from './dataset.ts'
import type { Resize } from './geometry.ts'
import {
  PRESETS,
  type ImageTransforms,
  type OutputLayout,
  type PresetName,
  type TensorTransforms,
  type Transforms,
} from './transforms.ts'

/** A model input that takes images; null where the model leaves a side open. */
export interface ImageInput {
  readonly channels: 1 | 3
  readonly height: number | null
  readonly width: number | null
  readonly layout?: OutputLayout
}

/** The dims of a model input: numbers, or null / a name where they are open. */
export type InputShape = readonly (number | string | null)[]

/** The side of an image whose model takes any size. */
const USUAL_SIDE = 224
/** From this side on, photos are resized to 8/7 of the side and cropped, as torchvision evaluates (256 to 224). */
const CROP_FROM = 96

/** Reads a model input's shape as that of an image; null if it is none. */
export function imageInputOf(shape: InputShape): ImageInput | null {
  const dims = shape.map(dim => (typeof dim === 'number' && dim > 0 ? dim : null))
  const channels = (dim: number | null | undefined) => (dim === 1 || dim === 3 ? dim : null)
  const [, a, b, c] = dims
  if (dims.length === 4 && channels(a))
    return { channels: channels(a)!, height: b!, width: c!, layout: 'NCHW' }
  if (dims.length === 4 && channels(c))
    return { channels: channels(c)!, height: a!, width: b!, layout: 'NHWC' }
  if (dims.length === 3 && a != null && b != null) return { channels: 1, height: a, width: b, layout: 'NHW' }
  return null
}

/**
 * Transforms for an image input. `field` tells what the data are like:
 * 1. arrays that have the model's size already are neither resized nor cropped;
 * 2. square inputs from 96 pixels on: short side to 8/7 of the side, centre crop; others: exact resize;
 * 3. bytes are divided by 255, and so are other numbers that fill 0 to 255; numbers in [0, 1] are taken as they are;
 * 4. normalisation by preset: imagenet for 3 channels, mnist for 28x28x1, none otherwise and for numbers of any
 *    other range, which have been normalised before.
 */
export function defaultTransforms(input: ImageInput, field?: Field, preset?: PresetName): ImageTransforms {
  const own = field?.dims ? imageDims(field.dims, field.layout) : null
  const height = input.height ?? own?.height ?? input.width ?? USUAL_SIDE
  const width = input.width ?? own?.width ?? height
  const fits = own?.height === height && own.width === width
  const cropped = !fits && height === width && height >= CROP_FROM && own === null
  const divide = dividerOf(field)
  const usual = input.channels === 3 ? 'imagenet' : height === 28 && width === 28 ? 'mnist' : 'none'
  const { mean, std } = PRESETS[preset ?? (divide === null ? 'none' : usual)]
  if (mean.length > input.channels) {
    throw new UsageError(
      `transforms: preset '${preset ?? usual}' is for ${mean.length} channels, the model input has ${input.channels}`,
    )
  }
  const size: ImageSize = { height, width }
  const resize: Resize | null = fits ? null : cropped ? { short: Math.floor((height * 8) / 7) } : size
  return {
    kind: 'image',
    resize,
    resample: 'fast',
    crop: cropped ? size : null,
    augment: null,
    channels: input.channels,
    divide: divide ?? 1,
    mean,
    std,
    layout: input.layout ?? 'NCHW',
  }
}

/** What brings pixels to [0, 1]; null if they are not pixels. */
function dividerOf(field: Field | undefined): number | null {
  if (field === undefined || field.dtype === 'uint8' || field.range === null) return 255
  const [low, high] = field.range
  if (!(low >= 0 && high <= 255)) return null
  return high <= 1 ? 1 : high > 127 ? 255 : null
}

/** Plain numbers in the model's dims. */
export function tensorTransforms(
  dims: Shape | null = null,
  dtype: TensorTransforms['dtype'] = 'float32',
): TensorTransforms {
  return { kind: 'tensor', dims, dtype, mean: [0], std: [1] }
}

/** Transforms for a model input of this shape (batch first) fed by this field. */
export function transformsFor(
  shape: InputShape,
  field: Field,
  options: { preset?: PresetName; dtype?: TensorTransforms['dtype'] } = {},
): Transforms {
  const { preset, dtype = 'float32' } = options
  const image = dtype === 'float32' ? imageInputOf(shape) : null
  const pixels = field.dims === null || field.dtype === 'uint8'
  const asImage = field.layout !== 'plain' && image && (image.layout !== 'NHW' || pixels)
  if (asImage) return defaultTransforms(image, field, preset)
  if (field.dims === null)
    throw new UsageError(
      `transforms: the data are images, the model input ${formatShape(shape)} is not that of an image`,
    )
  const flat = pixels && field.layout !== 'plain' && dtype === 'float32' && shape.length === 2
  if (flat) return flattened(shape, field, preset)
  const plain = tensorTransforms(fitDims(shape.slice(1), field), dtype)
  // Rows of bytes that reach above 127 are pixels without their shape.
  const bytes = dtype === 'float32' && field.dtype === 'uint8' && (field.range?.[1] ?? 0) > 127
  return bytes ? { ...plain, std: [255] } : plain
}

function flattened(shape: InputShape, field: Field, preset?: PresetName): ImageTransforms {
  const { height, width, channels } = imageDims(field.dims!, field.layout)!
  const wanted = shape[1]
  if (typeof wanted === 'number' && wanted !== height * width * channels)
    throw new UsageError(
      `transforms: the model input takes ${wanted} numbers, an image of the data has ${formatShape(field.dims!)}`,
    )
  return defaultTransforms({ channels: channels === 1 ? 1 : 3, height, width, layout: 'flat' }, field, preset)
}

/** The model's dims of one sample, open ones taken from the data. */
function fitDims(wanted: InputShape, field: Field): Shape {
  const have = field.dims!
  const known = wanted.map((dim, axis) => (typeof dim === 'number' && dim > 0 ? dim : (have[axis] ?? null)))
  const dims = known.every(dim => dim !== null) ? known : have
  if (sizeOf(dims) !== sizeOf(have)) {
    throw new UsageError(
      `transforms: a row of input '${field.name}' is ${formatShape(have)}, the model input takes ${formatShape(wanted)}`,
    )
  }
  return dims
}
