/** Sliding windows over slots [N, i..., C]: the padding that tfjs kernels are given, and what is cut off again. */

import { reachOf, spanOf, type Window, type WindowAxis } from '../../../ops/window.ts'
import type { Kernels } from '../kernels.ts'
import type { Slot } from '../tape.ts'

/** TensorFlow's rules of padding; explicit pads are written out beforehand, because most of its kernels refuse them. */
export type Padding = 'same' | 'valid'

/** How an input is brought to a form in which a kernel's own padding is the window's. */
export interface Fitting {
  readonly padding: Padding
  /** Spatial sizes after cutting and padding. */
  readonly sizes: readonly number[]
  /** Elements cut off (negative) or put before and after each spatial axis. */
  readonly borders: readonly (readonly [before: number, after: number])[]
}

/** A window of one axis as one of two, the first of length one: tfjs has no kernels for one. */
export function planar(window: Window): Window {
  if (window.length !== 1) return window
  // The stride is that of the other axis: depthwise kernels want equal ones.
  const { stride } = window[0]!
  const unit: WindowAxis = { input: 1, output: 1, kernel: 1, stride, dilation: 1, begin: 0, end: 0 }
  return [unit, ...window]
}

/** [N, L, C] as [N, 1, L, C]; other ranks as they are. */
export function planarSlot(k: Kernels, x: Slot): Slot {
  return x.shape.length === 3 ? k.reshape(x, [x.shape[0]!, 1, ...x.shape.slice(1)]) : x
}

/** Where the window is TensorFlow's 'same', nothing is padded; else what the windows reach beyond the input is. */
export function fitting(window: Window, allowSame = true): Fitting {
  const untouched = window.map((): [number, number] => [0, 0])
  if (window.every(axis => axis.begin === 0 && reachOf(axis) <= axis.input)) {
    return { padding: 'valid', sizes: window.map(axis => axis.input), borders: untouched }
  }
  if (allowSame && window.every(isSame)) {
    return { padding: 'same', sizes: window.map(axis => axis.input), borders: untouched }
  }
  // What no window reaches stays only if it is less than a stride: more would make a further output.
  const sizes = window.map(axis => {
    const whole = axis.begin + axis.input
    const reach = reachOf(axis)
    return whole - reach < axis.stride ? Math.max(whole, reach) : reach
  })
  const borders = window.map((axis, i): [number, number] => [axis.begin, sizes[i]! - axis.begin - axis.input])
  return { padding: 'valid', sizes, borders }
}

function isSame(axis: WindowAxis): boolean {
  const output = Math.ceil(axis.input / axis.stride)
  const total = Math.max(0, (output - 1) * axis.stride + spanOf(axis) - axis.input)
  return axis.output === output && axis.begin === Math.floor(total / 2)
}

/** Cuts and pads [N, i..., C] by borders. */
export function applyBorders(
  k: Kernels,
  x: Slot,
  borders: readonly (readonly [before: number, after: number])[],
  value = 0,
): Slot {
  const all = [[0, 0], ...borders, [0, 0]] as readonly (readonly [number, number])[]
  const begin = all.map(([before]) => Math.max(0, -before))
  const size = x.shape.map((dim, i) => dim - begin[i]! - Math.max(0, -all[i]![1]))
  const paddings = all.map(([before, after]): [number, number] => [Math.max(0, before), Math.max(0, after)])
  return k.pad(k.slice(x, begin, size), paddings, value)
}

/** The transpose: a gradient of what `applyBorders` gave as one of its input. */
export function undoBorders(
  k: Kernels,
  dx: Slot,
  borders: readonly (readonly [before: number, after: number])[],
): Slot {
  return applyBorders(
    k,
    dx,
    borders.map(([before, after]) => [-before, -after] as const),
  )
}

/** For each kernel offset, in row-major order, what the windows read there: strided slices of a padded [N, i..., C]. */
export function windowSlices(k: Kernels, x: Slot, window: Window, padding: number): Slot[] {
  const ends = window.map(axis => Math.max(0, reachOf(axis) - axis.begin - axis.input))
  const borders = window.map((axis, i) => [axis.begin, ends[i]!] as const)
  const padded = applyBorders(k, x, borders, padding)
  const offsets = window.reduce<number[][]>(
    (heads, axis) => heads.flatMap(head => Array.from({ length: axis.kernel }, (_, i) => [...head, i])),
    [[]],
  )
  return offsets.map(offset => {
    const starts = window.map((axis, i) => offset[i]! * axis.dilation)
    const stops = window.map((axis, i) => starts[i]! + (axis.output - 1) * axis.stride + 1)
    const [n, c] = [x.shape[0]!, x.shape.at(-1)!]
    return k.stridedSlice(
      padded,
      [0, ...starts, 0],
      [n, ...stops, c],
      [1, ...window.map(axis => axis.stride), 1],
    )
  })
}
