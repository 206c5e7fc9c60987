/** Image files to RGB bytes by the browser's decoders. The few types it needs, so that Node's code sees no DOM. */

import type { SampleInput } from '../data/dataset.ts'
import type { Geometry } from '../data/geometry.ts'
import { resample } from '../data/resample.ts'
import { EnvironmentError, InputError, messageOf } from '../util/errors.ts'

interface Bitmap {
  readonly width: number
  readonly height: number
  close(): void
}

interface Context {
  drawImage(image: Bitmap, x: number, y: number): void
  getImageData(x: number, y: number, width: number, height: number): { readonly data: Uint8ClampedArray }
}

interface CanvasGlobals {
  readonly createImageBitmap?: (blob: Blob, options: object) => Promise<Bitmap>
  readonly OffscreenCanvas?: new (
    width: number,
    height: number,
  ) => { getContext(kind: '2d', options: object): Context | null }
}

/**
 * As Node decodes: first frame, EXIF orientation ignored, alpha dropped, numbers as the file has them. Of translucent
 * pixels a canvas keeps the product of colour and alpha only, so that their colours are rounded.
 */
const BITMAP_OPTIONS = { imageOrientation: 'none', premultiplyAlpha: 'none', colorSpaceConversion: 'none' }

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
    bitmap = await createImageBitmap(blob, BITMAP_OPTIONS)
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
  bitmap.close()
  return { data: context.getImageData(0, 0, width, height).data, width, height }
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
