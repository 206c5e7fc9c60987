/** Image files to RGB bytes by the browser's decoders. The few types it needs, so that Node's code sees no DOM. */

import type { SampleInput } from '../data/dataset.ts'
import type { Geometry } from '../data/geometry.ts'
import { resample } from '../data/resample.ts'
import { EnvironmentError, InputError, messageOf } from '../util/errors.ts'
import { withoutExif } from './exif.ts'

interface Bitmap {
  readonly width: number
  readonly height: number
  close(): void
}

interface Context {
  drawImage(image: Bitmap, x: number, y: number): void
  getImageData(x: number, y: number, width: number, height: number): { readonly data: Uint8ClampedArray }
}

/** Of WebCodecs: an image as the decoder left it. */
interface Frame {
  readonly format: string | null
  allocationSize(): number
  copyTo(bytes: Uint8Array): Promise<unknown>
  close(): void
}

interface CanvasGlobals {
  readonly createImageBitmap?: (blob: Blob, options: object) => Promise<Bitmap>
  readonly OffscreenCanvas?: new (
    width: number,
    height: number,
  ) => { getContext(kind: '2d', options: object): Context | null }
  readonly VideoFrame?: new (bitmap: Bitmap, options: object) => Frame
}

/** As Node decodes: first frame, alpha dropped, numbers as the file has them. */
const BITMAP_OPTIONS = { premultiplyAlpha: 'none', colorSpaceConversion: 'none' }

/** Decodes an image to RGB bytes (HWC) of the part and size that the geometry says, scaled as Pillow does. */
export async function decodeBlob(blob: Blob, path: string, geometry?: Geometry): Promise<SampleInput> {
  const { data, width, height } = await pixelsOf(blob, path)
  const rgb = withoutAlpha(data)
  const source = { height, width, channels: 3 }
  const { region, size } = geometry?.place(source) ?? { region: null, size: source }
  const whole = region === null && size.height === height && size.width === width
  const pixels = whole ? rgb : resample(rgb, source, 'HWC', region, size)
  return { data: pixels, dims: [size.height, size.width, 3], layout: 'HWC' }
}

async function pixelsOf(blob: Blob, path: string) {
  const { createImageBitmap, OffscreenCanvas } = globalThis as CanvasGlobals
  if (!createImageBitmap || !OffscreenCanvas) {
    throw new EnvironmentError('images: this browser cannot decode images outside of a page', {
      cure: 'use a browser with OffscreenCanvas: Chrome 69, Firefox 105, Safari 16.4 or later',
    })
  }
  let bitmap: Bitmap
  try {
    // Browsers turn images as EXIF says, and know no option against it; Node and torchvision leave them as they are.
    bitmap = await createImageBitmap(await withoutExif(blob), BITMAP_OPTIONS)
  } catch (error) {
    const reason = blob.size === 0 ? 'the file is empty' : messageOf(error)
    throw new InputError(`image ${path}: ${reason}`, {
      cause: error,
      cure: 'replace the file or take it out of the folder',
    })
  }
  const { width, height } = bitmap
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true })
  if (!context) throw new EnvironmentError(`image ${path}: no canvas of ${width}x${height} pixels`)
  context.drawImage(bitmap, 0, 0)
  const drawn = context.getImageData(0, 0, width, height).data
  // Of translucent pixels a canvas keeps the product of colour and alpha, and of transparent ones no colour.
  const data = isOpaque(drawn) ? drawn : ((await framePixels(bitmap, drawn.length)) ?? drawn)
  bitmap.close()
  return { data, width, height }
}

function isOpaque(rgba: Uint8ClampedArray): boolean {
  for (let at = 3; at < rgba.length; at += 4) if (rgba[at] !== 255) return false
  return true
}

/** RGBA without a way over a canvas; null where the browser has none. */
async function framePixels(bitmap: Bitmap, size: number): Promise<Uint8ClampedArray | null> {
  const { VideoFrame } = globalThis as CanvasGlobals
  if (!VideoFrame) return null
  const frame = new VideoFrame(bitmap, { timestamp: 0, alpha: 'keep' })
  try {
    const swapped = frame.format === 'BGRA'
    if ((!swapped && frame.format !== 'RGBA') || frame.allocationSize() !== size) return null
    const bytes = new Uint8Array(size)
    await frame.copyTo(bytes)
    if (swapped) {
      for (let at = 0; at < size; at += 4) [bytes[at], bytes[at + 2]] = [bytes[at + 2]!, bytes[at]!]
    }
    return new Uint8ClampedArray(bytes.buffer)
  } finally {
    frame.close()
  }
}

function withoutAlpha(rgba: Uint8ClampedArray): Uint8Array {
  const rgb = new Uint8Array((rgba.length / 4) * 3)
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    rgb[to] = rgba[from]!
    rgb[to + 1] = rgba[from + 1]!
    rgb[to + 2] = rgba[from + 2]!
  }
  return rgb
}
