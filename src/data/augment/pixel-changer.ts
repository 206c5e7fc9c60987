/** Augmentations that change pixels: the cut-out part of an image as bytes, changed, then normalised into the batch. */

import { UsageError } from '../../util/errors.ts'
import type { Random } from '../../util/random.ts'
import type { Field, ImageSize } from '../dataset.ts'
import type { Elements } from '../elements.ts'
import { PixelWriter, type Window } from '../pixels.ts'
import type { Augment, ImageTransforms } from '../transforms.ts'
import { jitterColors } from './color-jitter.ts'
import { rotation, transformAffine, type Affine } from './neighbours.ts'
import { randAugment } from './rand-augment.ts'

/** Whether any pixel depends on chance. */
export function isRandom(augment: Augment): boolean {
  const { flip, verticalFlip, shift, randomResizedCrop, erasing } = augment
  const moved = flip > 0 || verticalFlip > 0 || shift > 0 || randomResizedCrop !== null
  return moved || (erasing !== null && erasing.probability > 0) || changesPixels(augment)
}

/** Whether pixels change their places. */
export function movesPixels(augment: Augment): boolean {
  const { flip, verticalFlip, shift, randomResizedCrop, rotation, randAugment } = augment
  return (
    [flip, verticalFlip, shift, rotation].some(amount => amount > 0) || !!(randomResizedCrop ?? randAugment)
  )
}

/** Whether images need to be bytes on their way, because their pixels are changed and not only moved. */
export function changesPixels({ rotation, randAugment, colorJitter }: Augment): boolean {
  return rotation > 0 || randAugment !== null || colorJitter !== null
}

/** Writes images as PixelWriter does, with their pixels changed: turned, by RandAugment, by colour, in this order. */
export class PixelChanger {
  readonly #augment: Augment
  readonly #channels: number
  readonly #cutter: PixelWriter
  readonly #writer: PixelWriter
  /** Whether the data are bytes HWC of the channels that are wanted. */
  readonly #plain: boolean

  constructor(transforms: ImageTransforms, sourceChannels: number, field: Field) {
    this.#augment = transforms.augment!
    const bytes = field.dtype === 'uint8'
    if (!bytes) checkPixels(field, transforms.divide)
    const plain = { mean: [0], std: [1] }
    // Other numbers than bytes are brought to 0 ... 255 first, by what they would have been divided by.
    const divide = bytes ? 1 : transforms.divide / 255
    const cut: ImageTransforms = { ...transforms, ...plain, divide, layout: 'NHWC' }
    this.#cutter = new PixelWriter(cut, sourceChannels, field.layout)
    this.#channels = this.#cutter.channels
    if (this.#channels !== 1 && this.#channels !== 3) {
      throw new UsageError(
        `transforms: colours are changed in images of 1 or 3 channels, input '${field.name}' has ${this.#channels}`,
      )
    }
    this.#plain = bytes && field.layout !== 'CHW' && this.#channels === sourceChannels
    const normal: ImageTransforms = { ...transforms, channels: null, divide: bytes ? transforms.divide : 255 }
    this.#writer = new PixelWriter(normal, this.#channels, 'HWC')
  }

  /** Returns how pixels of the window were moved, in order. */
  write(
    data: Elements,
    start: number,
    source: ImageSize,
    window: Window,
    out: Float32Array,
    at: number,
    size: ImageSize,
    random: Random,
    degrees: number,
  ): readonly Affine[] {
    const dims = { ...size, channels: this.#channels }
    let pixels = this.#cut(data, start, source, window, size)
    const moves = degrees === 0 ? [] : [rotation(degrees, dims)]
    for (const move of moves) pixels = transformAffine(pixels, dims, move)
    const { colorJitter } = this.#augment
    if (this.#augment.randAugment)
      pixels = randAugment(pixels, dims, this.#augment.randAugment, random, moves)
    if (colorJitter) jitterColors(pixels, dims, colorJitter, random)
    this.#writer.write(pixels, 0, size, { top: 0, left: 0, flip: false }, out, at, size)
    return moves
  }

  /** The window as bytes HWC: whole lines of pixels where they are that already and nothing lies outside. */
  #cut(
    data: Elements,
    start: number,
    source: ImageSize,
    { top, left, flip, flipVertical = false }: Window,
    size: ImageSize,
  ): Uint8Array {
    const { height, width } = size
    const pitch = width * this.#channels
    const inside = top >= 0 && left >= 0 && top + height <= source.height && left + width <= source.width
    if (!inside || !this.#plain || !(data instanceof Uint8Array)) {
      const cut = new Uint8ClampedArray(height * pitch)
      this.#cutter.write(data, start, source, { top, left, flip, flipVertical }, cut, 0, size)
      return new Uint8Array(cut.buffer)
    }
    const pixels = new Uint8Array(height * pitch)
    for (let y = 0; y < height; y++) {
      const from = start + ((top + y) * source.width + left) * this.#channels
      const to = (flipVertical ? height - 1 - y : y) * pitch
      pixels.set(data.subarray(from, from + pitch), to)
      if (flip) mirror(pixels, to, width, this.#channels)
    }
    return pixels
  }
}

/** Turns a line of pixels round. */
function mirror(pixels: Uint8Array, start: number, width: number, channels: number): void {
  const last = start + (width - 1) * channels
  for (let a = start, b = last; a < b; a += channels, b -= channels) {
    for (let k = 0; k < channels; k++) {
      const level = pixels[a + k]!
      pixels[a + k] = pixels[b + k]!
      pixels[b + k] = level
    }
  }
}

function checkPixels({ name, range }: Field, divide: number): void {
  if (range !== null && range[0] >= 0 && range[1] <= divide) return
  const found = range ? `numbers from ${range[0]} to ${range[1]}` : 'numbers of unknown range'
  throw new UsageError(
    `transforms: colours are changed in pixels from 0 to ${divide}, input '${name}' holds ${found}`,
    { cure: 'leave out rotation, RandAugment and colour jitter for data that are no plain images' },
  )
}
