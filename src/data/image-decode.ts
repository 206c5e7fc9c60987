/** Image files to RGB bytes, by libvips in background threads. */

import { readFile, stat } from 'node:fs/promises'
import type * as Sharp from 'sharp'
import { EnvironmentError, InputError, messageOf } from '../util/errors.ts'
import type { ImageSize, SampleInput } from './dataset.ts'
import type { Geometry } from './geometry.ts'
import { resample } from './resample.ts'

let loading: Promise<typeof Sharp.default> | undefined

/** Loads sharp at its first use: it costs 50 ms that a command without images need not pay. */
function loadSharp(): Promise<typeof Sharp.default> {
  loading ??= import('sharp').then(
    ({ default: sharp }) => {
      sharp.cache(false) // every file is read once an epoch: libvips' cache only costs memory
      sharp.concurrency(1) // one thread an image; the loader decodes several images at a time
      return sharp
    },
    (error: unknown) => {
      throw new EnvironmentError(`images need the package sharp, which does not load: ${messageOf(error)}`, {
        cause: error,
        cure: 'run npm install again on this machine, so that the binary for it is fetched',
      })
    },
  )
  return loading
}

/**
 * Decodes an image file to RGB bytes (HWC): first frame, alpha dropped, EXIF orientation ignored, as torchvision's
 * folder loader does with Pillow. The geometry's part and size are taken on the way.
 */
export async function decodeImage(path: string, geometry?: Geometry): Promise<SampleInput> {
  const sharp = await loadSharp()
  try {
    // Header and pixels from one reading: libvips would open and map the file twice, which costs as much as an eighth of all.
    return await decodePixels(sharp, await readFile(path), geometry)
  } catch (error) {
    throw await decodeError(path, error)
  }
}

/** The same of an image in memory; `name` is what errors call it. */
export async function decodeImageBytes(
  bytes: Uint8Array,
  name: string,
  geometry?: Geometry,
): Promise<SampleInput> {
  const sharp = await loadSharp()
  try {
    return await decodePixels(sharp, bytes, geometry)
  } catch (error) {
    throw new InputError(`image ${name}: ${reasonOf(error)}`, {
      cause: error,
      cure: 'replace the image or take its row out',
    })
  }
}

async function decodePixels(
  sharp: typeof Sharp.default,
  bytes: Uint8Array,
  geometry: Geometry | undefined,
): Promise<SampleInput> {
  const open = () => sharp(bytes, { failOn: 'error' })
  const { width, height, hasAlpha } = await open().metadata()
  const placement = geometry?.place({ height, width })
  const { region, size } = placement ?? { region: null, size: { height, width } }
  const scaled = region !== null || size.height !== height || size.width !== width
  // Enlarging with libvips' linear kernel gives errors of up to 80 of 255; it is good at reducing only.
  const from = region ?? { height, width }
  const enlarged = size.height > from.height || size.width > from.width
  if (scaled && (enlarged || geometry!.resample === 'exact')) {
    const data = await rgb(region ? open().extract(region) : open()).toBuffer()
    const pixels = resample(data, { ...from, channels: 3 }, 'HWC', null, size)
    return { data: pixels, dims: [size.height, size.width, 3], layout: 'HWC' }
  }
  // libvips would weight colours by alpha when it scales; Pillow drops alpha first.
  const raw = { width, height, channels: 3 } as const
  let image = scaled && hasAlpha ? sharp(await rgb(open()).toBuffer(), { raw }) : open()
  if (region) image = image.extract(region)
  if (scaled) {
    const { height, width } = size
    // The JPEG decoder's own halving beyond what is safe costs accuracy: mean error 1.9 instead of 0.6 of 255.
    image = image.resize({ height, width, fit: 'fill', kernel: 'linear', fastShrinkOnLoad: false })
  }
  const data = await rgb(image).toBuffer()
  const expected = size.height * size.width * 3
  if (data.length !== expected) throw new InputError(`decoded to ${data.length} bytes, expected ${expected}`)
  return { data, dims: [size.height, size.width, 3], layout: 'HWC' }
}

/** Height and width of an image file, from its header. */
export async function readImageSize(path: string): Promise<ImageSize> {
  const sharp = await loadSharp()
  try {
    const { width, height } = await sharp(path).metadata()
    return { height, width }
  } catch (error) {
    throw await decodeError(path, error)
  }
}

function rgb(image: Sharp.Sharp): Sharp.Sharp {
  return image.toColourspace('srgb').removeAlpha().raw({ depth: 'uchar' })
}

async function decodeError(path: string, error: unknown): Promise<InputError> {
  const bytes = await stat(path).then(
    ({ size }) => size,
    () => null,
  )
  const reason =
    bytes === null
      ? 'no such file'
      : bytes === 0
        ? 'the file is empty'
        : reasonOf(error).replace('Input buffer', 'Input file')
  return new InputError(`image ${path}: ${reason}`, {
    cause: error,
    cure: 'replace the file or take it out of the folder',
  })
}

function reasonOf(error: unknown): string {
  return messageOf(error).split('\n')[0]!
}
