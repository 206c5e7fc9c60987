/** Transforms made ready for one field: from a row in memory, or a decoded sample, to its place in a batch. */

import { formatShape, sizeOf, type Shape } from '../tensor/shape.ts'
import { InputError, UsageError, invariant } from '../util/errors.ts'
import type { Random } from '../util/random.ts'
import { fitted } from './array-dataset.ts'
import { imageDims, type Field, type ImageDims, type ImageSize, type SampleInput } from './dataset.ts'
import { changesPixels, isRandom, PixelChanger } from './augment/pixel-changer.ts'
import { uniform } from './augment/color-jitter.ts'
import type { Affine } from './augment/neighbours.ts'
import { erase, erasedRegion, type RandomErasing } from './augment/erasing.ts'
import type { Elements } from './elements.ts'
import { centerOffset, randomRegion, resizedSize, type Geometry, type Placement } from './geometry.ts'
import type { Placed } from './mask/follow.ts'
import { PixelWriter, type Window } from './pixels.ts'
import type { Augment, ImageTransforms, TensorTransforms, Transforms } from './transforms.ts'

export type BatchArray = Float32Array | Int32Array | BigInt64Array

/** What chance decided for one image; null fields of it come from the transforms alone. */
export interface Draw {
  readonly flip: boolean
  readonly down: number
  readonly right: number
  readonly flipVertical: boolean
  readonly degrees: number
  readonly geometry: Geometry | null
  /** For changes of pixels, whose numbers are drawn when the pixels are there; null without them. */
  readonly random: Random | null
}

export interface Pipeline {
  readonly dtype: 'float32' | 'int32' | 'int64'
  /** Whether samples depend on random numbers. */
  readonly random: boolean
  /** Dims of one output sample; null if they depend on the image. */
  readonly dims: Shape | null
  /** Height and width of an image in the batch; null if they depend on the image, or where there is none. */
  readonly size: ImageSize | null
  draw(random: Random | null): Draw
  /** Dims that this sample will have. */
  dimsOf(input: SampleInput): Shape
  /** Writes the sample at data[start], an array row with the field's dims, and says where its pixels went. */
  writeRow(data: Elements, start: number, draw: Draw, out: BatchArray, at: number): Placed | null
  /** Writes a sample that was loaded with the draw's geometry. */
  writeInput(input: SampleInput, draw: Draw, out: BatchArray, at: number): Placed | null
}

export function createPipeline(transforms: Transforms, field: Field): Pipeline {
  if (transforms.kind === 'tensor') return new TensorPipeline(transforms, field)
  if (field.layout === 'plain') {
    throw new UsageError(
      `transforms: input '${field.name}' with rows of ${formatShape(field.dims ?? [])} is no image`,
      { cure: 'state its layout (HW, HWC or CHW), or use transforms of kind tensor' },
    )
  }
  return new ImagePipeline(transforms, field)
}

const STILL: Draw = {
  flip: false,
  down: 0,
  right: 0,
  flipVertical: false,
  degrees: 0,
  geometry: null,
  random: null,
}

class ImagePipeline implements Pipeline {
  readonly dtype = 'float32'
  readonly random: boolean
  readonly dims: Shape | null
  readonly #transforms: ImageTransforms
  readonly #field: Field
  readonly #own: ImageDims | null
  readonly size: ImageSize | null
  readonly #augment: Augment | null
  readonly #still: Draw
  readonly #writer: PixelWriter
  /** Writes bytes on which colours and the like are changed; null where none are. */
  readonly #changer: PixelChanger | null

  constructor(transforms: ImageTransforms, field: Field) {
    const { resize, crop, augment } = transforms
    this.#transforms = transforms
    this.#field = field
    this.#own = field.dims && imageDims(field.dims, field.layout)
    this.#augment = augment && isRandom(augment) ? augment : null
    this.random = this.#augment !== null
    const resized = this.#own ? resizedSize(this.#own, resize) : resize && 'height' in resize ? resize : null
    this.size = crop ?? resized
    if (this.#augment?.randomResizedCrop && this.size === null)
      throw new UsageError(
        'transforms: randomResizedCrop needs a crop or an exact resize for its output size',
      )
    // A geometry that changes nothing is left out, so that rows in memory are written straight into the batch.
    const still = this.#own && resized!.height === this.#own.height && resized!.width === this.#own.width
    this.#still = still ? STILL : { ...STILL, geometry: this.#plainGeometry() }
    const channels = this.#own?.channels ?? (field.dims === null ? 3 : null)
    invariant(channels !== null, 'an image field has channels')
    this.#writer = new PixelWriter(transforms, channels, field.layout)
    const changes = this.#augment && changesPixels(this.#augment)
    this.#changer = changes ? new PixelChanger(transforms, channels, field) : null
    this.dims = this.size && this.#outDims(this.size, this.#writer.channels)
  }

  #plainGeometry(): Geometry {
    const { resize, resample } = this.#transforms
    return {
      place: source => ({ region: null, size: resizedSize(source, resize) }),
      key: `${JSON.stringify(resize)} ${resample}`,
      resample,
    }
  }

  draw(random: Random | null): Draw {
    if (this.#augment === null || random === null) return this.#still
    const { flip, shift, verticalFlip, rotation, randomResizedCrop } = this.#augment
    const draw = {
      flip: flip > 0 && random.float() < flip,
      down: shift > 0 ? random.integer(2 * shift + 1) - shift : 0,
      right: shift > 0 ? random.integer(2 * shift + 1) - shift : 0,
      flipVertical: verticalFlip > 0 && random.float() < verticalFlip,
      degrees: rotation > 0 ? uniform(random, -rotation, rotation) : 0,
      random,
    }
    if (!randomResizedCrop) return { ...draw, geometry: this.#still.geometry }
    const size = this.size!
    const { resample } = this.#transforms
    const draws = (source: ImageSize) => ({ region: randomRegion(source, randomResizedCrop, random), size })
    return { ...draw, geometry: { place: once(draws), key: null, resample } }
  }

  dimsOf(input: SampleInput): Shape {
    const { height, width, channels } = imageDims(input.dims, input.layout)!
    return this.#outDims(this.#transforms.crop ?? { height, width }, this.#transforms.channels ?? channels)
  }

  writeRow(data: Elements, start: number, draw: Draw, out: BatchArray, at: number): Placed {
    if (draw.geometry === null) return this.#write(data, start, this.#own!, draw, out, at)
    const dims = this.#field.dims!
    const row = data.subarray(start, start + sizeOf(dims))
    return this.writeInput(
      fitted({ data: row, dims, layout: this.#field.layout }, draw.geometry),
      draw,
      out,
      at,
    )
  }

  writeInput(input: SampleInput, draw: Draw, out: BatchArray, at: number): Placed {
    return this.#write(input.data, 0, imageDims(input.dims, input.layout)!, draw, out, at)
  }

  #write(data: Elements, start: number, source: ImageSize, draw: Draw, out: BatchArray, at: number): Placed {
    const size = this.#transforms.crop ?? source
    const window: Window = {
      top: centerOffset(source.height, size.height) + draw.down,
      left: centerOffset(source.width, size.width) + draw.right,
      flip: draw.flip,
      flipVertical: draw.flipVertical,
    }
    const { random } = draw
    const pixels = out as Float32Array
    let moves: readonly Affine[] = []
    if (random && this.#changer)
      moves = this.#changer.write(data, start, source, window, pixels, at, size, random, draw.degrees)
    else this.#writer.write(data, start, source, window, pixels, at, size)
    if (random && this.#augment?.erasing) this.#erase(pixels, at, size, this.#augment.erasing, random)
    return { geometry: draw.geometry, window, size, moves, fill: this.#augment?.fill ?? 'zero' }
  }

  #erase(out: Float32Array, at: number, size: ImageSize, erasing: RandomErasing, random: Random): void {
    if (random.float() >= erasing.probability) return
    const dims = { ...size, channels: this.#writer.channels }
    const region = erasedRegion(dims, erasing, random)
    if (region === null) return
    const last = this.#transforms.layout === 'NHWC'
    erase(out, at, dims, last, region, erasing.value === 'zero' ? () => 0 : () => random.normal())
  }

  #outDims({ height, width }: ImageSize, channels: number): Shape {
    switch (this.#transforms.layout) {
      case 'NCHW':
        return [channels, height, width]
      case 'NHWC':
        return [height, width, channels]
      case 'NHW':
        return [height, width]
      case 'flat':
        return [channels * height * width]
    }
  }
}

class TensorPipeline implements Pipeline {
  readonly dtype: 'float32' | 'int32' | 'int64'
  readonly random = false
  readonly dims: Shape
  readonly size = null
  readonly #count: number
  readonly #mean: Float32Array
  readonly #std: Float32Array

  constructor(transforms: TensorTransforms, field: Field) {
    const { dims, dtype, mean, std } = transforms
    if (field.dims === null)
      throw new UsageError('transforms: image files need transforms of kind image, got kind tensor')
    this.dims = dims ?? field.dims
    this.#count = sizeOf(field.dims)
    if (sizeOf(this.dims) !== this.#count)
      throw new UsageError(
        `transforms: rows of input '${field.name}' are ${formatShape(field.dims)}, dims ${formatShape(this.dims)} do not fit`,
      )
    this.dtype = dtype
    if (dtype !== 'float32' && field.dtype === 'float32')
      throw new InputError(`transforms: input '${field.name}' holds float32, the model wants ${dtype}`)
    const normalizing = mean.some(value => value !== 0) || std.some(value => value !== 1)
    if (dtype !== 'float32' && normalizing)
      throw new UsageError(`transforms: mean and std make no sense for ${dtype} input '${field.name}'`)
    this.#mean = this.#perElement('mean', mean)
    this.#std = this.#perElement('std', std)
  }

  #perElement(what: string, values: readonly number[]): Float32Array {
    if (values.length !== 1 && values.length !== this.#count)
      throw new UsageError(
        `transforms: ${what} has ${values.length} numbers, expected 1 or one for each of ${this.#count} elements`,
      )
    return Float32Array.from(values)
  }

  draw(): Draw {
    return STILL
  }

  dimsOf(): Shape {
    return this.dims
  }

  writeInput(input: SampleInput, draw: Draw, out: BatchArray, at: number): null {
    return this.writeRow(input.data, 0, draw, out, at)
  }

  writeRow(data: Elements, start: number, _draw: Draw, out: BatchArray, at: number): null {
    if (out instanceof BigInt64Array) {
      for (let i = 0; i < this.#count; i++) out[at + i] = BigInt(data[start + i]!)
    } else if (out instanceof Int32Array) {
      for (let i = 0; i < this.#count; i++) out[at + i] = data[start + i]!
    } else {
      const [meanStep, stdStep] = [this.#mean, this.#std].map(values => (values.length === 1 ? 0 : 1))
      for (let i = 0; i < this.#count; i++)
        out[at + i] = (data[start + i]! - this.#mean[i * meanStep!]!) / this.#std[i * stdStep!]!
    }
    return null
  }
}

/** A placement by chance that stays what it was for images of one size: the mask of an image goes where the image went. */
function once(place: Geometry['place']): Geometry['place'] {
  let known: { readonly source: ImageSize; readonly placement: Placement } | null = null
  return source => {
    if (known?.source.height !== source.height || known.source.width !== source.width)
      known = { source, placement: place(source) }
    return known.placement
  }
}
