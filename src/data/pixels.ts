/** The inner loop: pixels of one image, cropped, mirrored and normalised, into their place in the batch. */

import { UsageError } from '../util/errors.ts'
import type { FieldLayout, ImageSize } from './dataset.ts'
import type { Elements } from './elements.ts'
import type { ImageTransforms } from './transforms.ts'

/** Where the output window lies on the source image; parts outside the image are filled. */
export interface Window {
  readonly top: number
  readonly left: number
  readonly flip: boolean
  /** Upside down; not, if absent. */
  readonly flipVertical?: boolean
}

/** Writes images that all have the same number of channels and the same layout. */
export class PixelWriter {
  /** Channels of the output. */
  readonly channels: number
  readonly #sourceChannels: number
  readonly #planar: boolean
  readonly #gray: boolean
  readonly #repeat: boolean
  readonly #lastAxis: boolean
  readonly #edge: boolean
  readonly #divide: number
  readonly #mean: Float32Array
  readonly #std: Float32Array
  /** The normalised value of every byte, channel after channel. */
  readonly #table: Float32Array
  #luma: Elements = new Uint8Array(0)

  constructor(transforms: ImageTransforms, sourceChannels: number, layout: FieldLayout) {
    const { channels, mean, std, divide } = transforms
    this.#sourceChannels = sourceChannels
    this.#planar = layout === 'CHW'
    this.#gray = channels === 1 && sourceChannels >= 3
    this.#repeat = channels === 3 && sourceChannels < 3
    this.channels = channels ?? sourceChannels
    this.#lastAxis = transforms.layout === 'NHWC'
    this.#edge = transforms.augment?.fill === 'edge'
    this.#divide = divide
    this.#mean = perChannel('mean', mean, this.channels)
    this.#std = perChannel('std', std, this.channels)
    if (transforms.layout === 'NHW' && this.channels !== 1)
      throw new UsageError(`transforms: layout NHW needs 1 channel, the images have ${this.channels}`)
    this.#table = new Float32Array(256 * this.channels)
    for (let c = 0; c < this.channels; c++)
      for (let value = 0; value < 256; value++) this.#table[c * 256 + value] = this.#normalize(value, c)
  }

  /** (value / divide - mean) / std, each step rounded to float32 as PyTorch's tensors do. */
  #normalize(value: number, channel: number): number {
    const scaled = Math.fround(Math.fround(value) / this.#divide)
    return Math.fround(Math.fround(scaled - this.#mean[channel]!) / this.#std[channel]!)
  }

  /** Writes the `size` window of an image that starts at data[start] to out[at]. */
  write(
    data: Elements,
    start: number,
    source: ImageSize,
    window: Window,
    out: Float32Array | Uint8ClampedArray,
    at: number,
    size: ImageSize,
  ): void {
    const { height, width } = source
    const area = height * width
    let pixels = data
    let base = start
    let [columnStep, channelStep] = this.#planar ? [1, area] : [this.#sourceChannels, 1]
    if (this.#gray) {
      pixels = this.#toLuma(data, start, area, columnStep, channelStep)
      base = 0
      columnStep = 1
    }
    if (this.#repeat) channelStep = 0
    const table = pixels instanceof Uint8Array ? this.#table : null
    const { top, left, flip } = window
    const [outColumn, outChannel] = this.#lastAxis ? [this.channels, 1] : [1, size.height * size.width]
    // The columns of the window that lie on the image.
    const first = Math.min(Math.max(0, -left), size.width)
    const last = Math.max(first, Math.min(size.width, width - left))
    const step = flip ? -outColumn : outColumn
    for (let c = 0; c < this.channels; c++) {
      const shift = c * 256
      const zero = this.#normalize(0, c)
      for (let y = 0; y < size.height; y++) {
        const toY = window.flipVertical ? size.height - 1 - y : y
        const row = at + c * outChannel + toY * size.width * outColumn
        let to = flip ? row + (size.width - 1) * outColumn : row
        const sourceY = this.#edge ? clamp(top + y, height) : top + y
        const line = base + c * channelStep + sourceY * width * columnStep
        if (sourceY < 0 || sourceY >= height) {
          for (let x = 0; x < size.width; x++, to += step) out[to] = zero
          continue
        }
        const leftmost = this.#edge ? this.#value(pixels, line + clamp(left, width) * columnStep, c) : zero
        for (let x = 0; x < first; x++, to += step) out[to] = leftmost
        let from = line + (left + first) * columnStep
        if (table) {
          for (let x = first; x < last; x++, to += step, from += columnStep)
            out[to] = table[shift + pixels[from]!]!
        } else {
          for (let x = first; x < last; x++, to += step, from += columnStep)
            out[to] = this.#normalize(pixels[from]!, c)
        }
        if (last === size.width) continue
        const right = clamp(left + size.width - 1, width)
        const rightmost = this.#edge ? this.#value(pixels, line + right * columnStep, c) : zero
        for (let x = last; x < size.width; x++, to += step) out[to] = rightmost
      }
    }
  }

  #value(pixels: Elements, from: number, channel: number): number {
    return this.#normalize(pixels[from]!, channel)
  }

  /** Pillow's convert('L') for bytes: ITU-R 601 weights of 16 bits; the same weights for other numbers. */
  #toLuma(data: Elements, start: number, area: number, columnStep: number, channelStep: number): Elements {
    const bytes = data instanceof Uint8Array
    if (this.#luma.length < area || this.#luma instanceof Uint8Array !== bytes)
      this.#luma = bytes ? new Uint8Array(area) : new Float32Array(area)
    const luma = this.#luma
    for (let i = 0, from = start; i < area; i++, from += columnStep) {
      const red = data[from]!
      const green = data[from + channelStep]!
      const blue = data[from + 2 * channelStep]!
      luma[i] = bytes
        ? (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
        : 0.299 * red + 0.587 * green + 0.114 * blue
    }
    return luma
  }
}

function perChannel(what: string, values: readonly number[], channels: number): Float32Array {
  if (values.length !== 1 && values.length !== channels)
    throw new UsageError(
      `transforms: ${what} has ${values.length} numbers, expected 1 or one for each of ${channels} channels`,
    )
  return Float32Array.from({ length: channels }, (_, c) => values[values.length === 1 ? 0 : c]!)
}

function clamp(position: number, length: number): number {
  return Math.min(Math.max(position, 0), length - 1)
}
