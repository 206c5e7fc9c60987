/** Masks go where their images went: the same part, the same window, the same moves, always by the nearest pixel. */

import { transformAffine, type Affine } from '../augment/neighbours.ts'
import type { ImageSize, Mask } from '../dataset.ts'
import type { Geometry } from '../geometry.ts'
import type { Window } from '../pixels.ts'

/** What became of the pixels of an image on their way into the batch. */
export interface Placed {
  /** Which part was taken, at which size; null: all of it as it is. */
  readonly geometry: Geometry | null
  /** What of that is seen. */
  readonly window: Window
  /** Of the window. */
  readonly size: ImageSize
  /** How the pixels of the window were moved then, in order. */
  readonly moves: readonly Affine[]
  /** What lies outside the image: nothing, or the nearest pixel. */
  readonly fill: 'zero' | 'edge'
}

/** The classes of the pixels of the window; `outside` is the class of those that come from outside the image. */
export function followImage(mask: Mask, placed: Placed, outside: number): Int32Array {
  const { geometry, window, size, moves, fill } = placed
  const { region, size: scaled } = geometry?.place(mask) ?? { region: null, size: mask }
  const { top, left, height, width } = region ?? { top: 0, left: 0, ...mask }
  const edge = fill === 'edge'
  const rows = sources(size.height, window.top, window.flipVertical ?? false, scaled.height, height, edge)
  const columns = sources(size.width, window.left, window.flip, scaled.width, width, edge)
  let labels = new Int32Array(size.height * size.width)
  let to = 0
  for (const row of rows) {
    const line = (top + row) * mask.width + left
    for (const column of columns) labels[to++] = row < 0 || column < 0 ? outside : mask.labels[line + column]!
  }
  const dims = { ...size, channels: 1 }
  for (const move of moves) labels = transformAffine(labels, dims, move, outside)
  return labels
}

/**
 * For each position of a window the position of the part that it shows, -1 outside: part of `length` positions scaled to
 * `scaled`, of which the window shows those from `start` on, turned round if `flip`.
 */
function sources(
  count: number,
  start: number,
  flip: boolean,
  scaled: number,
  length: number,
  edge: boolean,
): Int32Array {
  return Int32Array.from({ length: count }, (_, i) => {
    const position = start + (flip ? count - 1 - i : i)
    if (!edge && (position < 0 || position >= scaled)) return -1
    return nearest(Math.min(Math.max(position, 0), scaled - 1), scaled, length)
  })
}

/** Pillow's NEAREST: the pixel of `length` in which the centre of a pixel of `scaled` lies. */
export function nearest(position: number, scaled: number, length: number): number {
  return Math.floor((position + 0.5) * (length / scaled))
}
