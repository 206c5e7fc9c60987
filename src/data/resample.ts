/**
 * Pillow's BILINEAR resize, to the last bit for bytes. Source: Pillow, src/libImaging/Resample.c: a triangle filter
 * stretched to the scale, two passes (width, then height: Pillow 13 turns them round for some sizes, with single levels of
 * difference), and for bytes fixed-point weights of 22 bits with rounding after each pass.
 */

import type { FieldLayout, ImageDims, ImageSize } from './dataset.ts'
import type { Elements } from './elements.ts'
import type { Region } from './geometry.ts'

/** For every output position: where its inputs start, how many they are, and their weights (`taps` are stored). */
interface Filter {
  readonly taps: number
  readonly starts: Int32Array
  readonly counts: Int32Array
  readonly weights: Float64Array
}

const PRECISION = 22 // 32 bits - 8 of the pixel - 2 of headroom

function triangle(length: number, outLength: number, fixedPoint: boolean): Filter {
  const scale = length / outLength
  const support = Math.max(scale, 1)
  const taps = Math.ceil(support) * 2 + 1
  const starts = new Int32Array(outLength)
  const counts = new Int32Array(outLength)
  const weights = new Float64Array(outLength * taps)
  for (let i = 0; i < outLength; i++) {
    const center = (i + 0.5) * scale
    const start = Math.max(0, Math.trunc(center - support + 0.5))
    const end = Math.min(length, Math.trunc(center + support + 0.5))
    let sum = 0
    for (let j = start; j < end; j++) {
      const weight = Math.max(0, 1 - Math.abs((j - center + 0.5) / support))
      weights[i * taps + j - start] = weight
      sum += weight
    }
    for (let j = i * taps; j < (i + 1) * taps; j++) {
      const weight = weights[j]! / sum
      weights[j] = fixedPoint ? Math.trunc(weight * 2 ** PRECISION + 0.5) : weight
    }
    starts[i] = start
    counts[i] = end - start
  }
  return { taps, starts, counts, weights }
}

/** Lines of positions of `inner` neighbouring numbers each, before a pass. */
interface Lines {
  readonly outer: number
  readonly length: number
  readonly inner: number
}

/** One pass over all lines. */
function pass(source: Elements, target: Elements, lines: Lines, filter: Filter): void {
  if (source instanceof Uint8Array && target instanceof Uint8Array) passBytes(source, target, lines, filter)
  else passNumbers(source, target, lines, filter)
}

/** In 32-bit integers, in which sums of bytes by these weights stay exact. */
function passBytes(
  source: Uint8Array,
  target: Uint8Array,
  { outer, length, inner }: Lines,
  { taps, starts, counts, weights }: Filter,
): void {
  const fixed = Int32Array.from(weights)
  const half = 1 << (PRECISION - 1)
  let to = 0
  for (let line = 0; line < outer; line++) {
    for (let i = 0; i < starts.length; i++) {
      const first = i * taps
      const count = counts[i]!
      const start = (line * length + starts[i]!) * inner
      if (count === 2 && inner !== 3) {
        // What enlarging comes to, but for the edges.
        const [near, far] = [fixed[first]!, fixed[first + 1]!]
        for (let from = start; from < start + inner; from++) {
          const sum = (Math.imul(source[from]!, near) + Math.imul(source[from + inner]!, far) + half) | 0
          target[to++] = sum >> PRECISION
        }
        continue
      }
      const end = first + count
      if (inner === 3) {
        // The channels of a pixel side by side.
        let [a, b, c] = [half, half, half]
        for (let j = first, from = start; j < end; j++, from += 3) {
          const weight = fixed[j]!
          a = (a + Math.imul(source[from]!, weight)) | 0
          b = (b + Math.imul(source[from + 1]!, weight)) | 0
          c = (c + Math.imul(source[from + 2]!, weight)) | 0
        }
        target[to] = a >> PRECISION
        target[to + 1] = b >> PRECISION
        target[to + 2] = c >> PRECISION
        to += 3
        continue
      }
      for (let k = start; k < start + inner; k++) {
        let sum = half
        for (let j = first, from = k; j < end; j++, from += inner)
          sum = (sum + Math.imul(source[from]!, fixed[j]!)) | 0
        target[to++] = sum >> PRECISION
      }
    }
  }
}

function passNumbers(
  source: Elements,
  target: Elements,
  { outer, length, inner }: Lines,
  { taps, starts, counts, weights }: Filter,
): void {
  const sums = new Float64Array(inner)
  let to = 0
  for (let line = 0; line < outer; line++) {
    for (let i = 0; i < starts.length; i++) {
      let from = (line * length + starts[i]!) * inner
      const end = i * taps + counts[i]!
      sums.fill(0)
      for (let j = i * taps; j < end; j++, from += inner) {
        const weight = weights[j]!
        for (let k = 0; k < inner; k++) sums[k]! += source[from + k]! * weight
      }
      for (let k = 0; k < inner; k++) target[to++] = sums[k]!
    }
  }
}

/** The pixels of `region` (null: all), scaled to `size`. Bytes stay bytes, other numbers become float32. */
export function resample(
  data: Elements,
  dims: ImageDims,
  layout: FieldLayout,
  region: Region | null,
  size: ImageSize,
): Elements {
  const planes = layout === 'CHW' ? dims.channels : 1
  const inner = layout === 'CHW' ? 1 : dims.channels
  const { top, left, height, width } = region ?? { top: 0, left: 0, ...dims }
  const bytes = data instanceof Uint8Array
  const allocate = (length: number): Elements => (bytes ? new Uint8Array(length) : new Float32Array(length))

  let pixels = data
  if (height !== dims.height || width !== dims.width) {
    pixels = allocate(planes * height * width * inner)
    for (let row = 0; row < planes * height; row++) {
      const y = Math.floor(row / height) * dims.height + top + (row % height)
      const start = (y * dims.width + left) * inner
      pixels.set(data.subarray(start, start + width * inner), row * width * inner)
    }
  }
  if (width !== size.width) {
    const target = allocate(planes * height * size.width * inner)
    pass(pixels, target, { outer: planes * height, length: width, inner }, triangle(width, size.width, bytes))
    pixels = target
  }
  if (height !== size.height) {
    const target = allocate(planes * size.height * size.width * inner)
    pass(
      pixels,
      target,
      { outer: planes, length: height, inner: size.width * inner },
      triangle(height, size.height, bytes),
    )
    pixels = target
  }
  return pixels
}
