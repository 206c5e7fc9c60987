/**
 * Convolution of slots and its two gradients, by tfjs kernels. Images are [N, i..., C], filters [k..., C/group, M], both
 * with two or three spatial axes. The kernels know no groups (channels are split), take a stride or a dilation but not
 * both, and in gradients no dilation; depthwise kernels want equal strides.
 */

import { reachOf, spanOf, type Window } from '../../../ops/window.ts'
import { invariant } from '../../../util/errors.ts'
import type { Kernels } from '../kernels.ts'
import { onnxLayout } from '../layout.ts'
import type { KernelAttributes, Slot } from '../tape.ts'
import { applyBorders, fitting, undoBorders, type Fitting } from './windows.ts'

export interface Geometry {
  readonly window: Window
  readonly group: number
}

/** The kernels for a number of spatial axes. */
const NAMES = {
  2: { forward: 'Conv2D', input: 'Conv2DBackpropInput', filter: 'Conv2DBackpropFilter' },
  3: { forward: 'Conv3D', input: 'Conv3DBackpropInputV2', filter: 'Conv3DBackpropFilterV2' },
} as const

function namesOf(window: Window) {
  const names = NAMES[window.length as 2 | 3] as (typeof NAMES)[2 | 3] | undefined
  invariant(names, `a convolution over ${window.length} axes`)
  return names
}

/** Attributes that all these kernels read. */
function attributesOf(window: Window, { padding }: Fitting): KernelAttributes {
  return {
    strides: window.map(axis => axis.stride),
    dilations: window.map(axis => axis.dilation),
    pad: padding,
    dataFormat: window.length === 2 ? 'NHWC' : 'NDHWC',
  }
}

/** One filter for each channel: what the depthwise kernels compute, in two spatial axes. */
export function isDepthwise(window: Window, group: number, channels: number): boolean {
  return group > 1 && group === channels && window.length === 2
}

export function hasDilation(window: Window): boolean {
  return window.some(axis => axis.dilation > 1)
}

export function hasEqualStrides(window: Window): boolean {
  return window.every(axis => axis.stride === window[0]!.stride)
}

/** x [N, i..., C], w [k..., C/group, M] -> [N, o..., M]. */
export function convolve(k: Kernels, x: Slot, w: Slot, geometry: Geometry): Slot {
  const { window, group } = geometry
  const depthwise = isDepthwise(window, group, x.shape.at(-1)!)
  const strided = window.some(axis => axis.stride > 1)
  if (strided && (hasDilation(window) || (depthwise && !hasEqualStrides(window)))) {
    return everyStride(k, convolve(k, x, w, { window: withoutStrides(window), group }), window)
  }
  // In three axes TensorFlow's CPU kernels know no dilation.
  if (window.length === 3 && hasDilation(window)) {
    return convolve(k, x, withHoles(k, w, window), { window: withoutDilations(window), group })
  }
  const fit = fitting(window)
  const body = applyBorders(k, x, fit.borders)
  const attributes = attributesOf(window, fit)
  if (depthwise)
    return k.call('DepthwiseConv2dNative', { x: body, filter: perChannel(k, w, group) }, attributes)
  const { forward } = namesOf(window)
  return byGroups(k, group, [body, w], ([part, filter]) =>
    k.call(forward, { x: part!, filter: filter! }, attributes),
  )
}

/** dy [N, o..., M], w [k..., C/group, M] -> dx [N, i..., C]. */
export function convolveInputGrad(k: Kernels, dy: Slot, w: Slot, geometry: Geometry): Slot {
  const { window, group } = geometry
  const channels = w.shape.at(-2)! * group
  const depthwise = isDepthwise(window, group, channels)
  if (hasDilation(window) || (depthwise && !hasEqualStrides(window))) {
    return byForward(k, dy, w, geometry)
  }
  const fit = fitting(window)
  const n = dy.shape[0]!
  const attributes = attributesOf(window, fit)
  const inputShape = (c: number) => [n, ...fit.sizes, c]
  if (depthwise) {
    const filter = perChannel(k, w, group)
    const inputs = { dy, filter }
    const dx = k.call('DepthwiseConv2dNativeBackpropInput', inputs, {
      ...attributes,
      inputShape: inputShape(channels),
    })
    return undoBorders(k, dx, fit.borders)
  }
  const { input } = namesOf(window)
  const dx = byGroups(k, group, [dy, w], ([part, filter]) =>
    k.call(
      input,
      { dy: part!, filter: filter! },
      { ...attributes, inputShape: inputShape(channels / group) },
    ),
  )
  return undoBorders(k, dx, fit.borders)
}

/** x [N, i..., C], dy [N, o..., M] -> dw [k..., C/group, M]. No dilation; depthwise, equal strides. */
export function convolveFilterGrad(k: Kernels, x: Slot, dy: Slot, geometry: Geometry): Slot {
  const { window, group } = geometry
  const [c, m] = [x.shape.at(-1)!, dy.shape.at(-1)!]
  const fit = fitting(window)
  const body = applyBorders(k, x, fit.borders)
  const attributes = attributesOf(window, fit)
  const kernel = window.map(axis => axis.kernel)
  if (isDepthwise(window, group, c)) {
    const filterShape = [...kernel, c, m / c]
    const dw = k.call('DepthwiseConv2dNativeBackpropFilter', { x: body, dy }, { ...attributes, filterShape })
    return k.reshape(dw, [...kernel, 1, m])
  }
  const filterShape = [...kernel, c / group, m / group]
  const { filter } = namesOf(window)
  return byGroups(k, group, [body, dy], ([part, gradient]) =>
    k.call(filter, { x: part!, dy: gradient! }, { ...attributes, filterShape }),
  )
}

/**
 * The input gradient as a convolution of dy, spread by the strides, with the filter turned round: its dilation may be any.
 *
 *     dx[i] = Σ over k of dy'[i + begin − k·dilation] · w[k],  dy'[o·stride] = dy[o]
 */
function byForward(k: Kernels, dy: Slot, w: Slot, { window, group }: Geometry): Slot {
  const spread = window.reduce((slot, axis, i) => spreadOut(k, slot, i + 1, axis.stride), dy)
  const turned = window.reduce((slot, _, i) => k.reverse(slot, i), w)
  const back = window.map((axis, i) => {
    const begin = spanOf(axis) - 1 - axis.begin
    const input = spread.shape[i + 1]!
    const end = axis.input + spanOf(axis) - 1 - begin - input
    return { ...axis, input, output: axis.input, stride: 1, begin, end }
  })
  const rank = turned.shape.length
  const swap = [...onnxLayout(rank).slice(0, -2), rank - 1, rank - 2]
  if (w.shape.at(-2) === 1 && group > 1) {
    // Depthwise: every channel of dy with its own filter, then the sum over those of one channel of x.
    const m = dy.shape.at(-1)!
    const each = convolve(k, spread, turned, { window: back, group: m })
    const apart = k.reshape(each, [...each.shape.slice(0, -1), group, m / group])
    return k.sum(apart, [apart.shape.length - 1], false)
  }
  const results = byGroups(k, group, [spread, turned], ([part, filter]) =>
    convolve(k, part!, k.transpose(filter!, swap), { window: back, group: 1 }),
  )
  return results
}

/** Runs one group after the other on its share of the last axis of each operand, and joins the results. */
function byGroups(
  k: Kernels,
  group: number,
  operands: readonly Slot[],
  run: (parts: readonly Slot[]) => Slot,
): Slot {
  if (group === 1) return run(operands)
  const parts = operands.map(slot => {
    const last = slot.shape.length - 1
    const size = slot.shape[last]! / group
    return k.split(slot, new Array<number>(group).fill(size), last)
  })
  const results = Array.from({ length: group }, (_, g) => run(parts.map(list => list[g]!)))
  return k.concat(results, results[0]!.shape.length - 1)
}

/** [k..., 1, M] as the depthwise kernels' [k..., C, M/C]. */
function perChannel(k: Kernels, w: Slot, channels: number): Slot {
  return k.reshape(w, [...w.shape.slice(0, -2), channels, w.shape.at(-1)! / channels])
}

function withoutStrides(window: Window): Window {
  return window.map(axis => ({
    ...axis,
    stride: 1,
    output: (axis.output - 1) * axis.stride + 1,
    end: Math.max(0, reachOf(axis) - axis.begin - axis.input),
  }))
}

/** The dilated filter as a dense one: zeros stand in the holes. */
function withHoles(k: Kernels, w: Slot, window: Window): Slot {
  return window.reduce((slot, axis, i) => spreadOut(k, slot, i, axis.dilation), w)
}

function withoutDilations(window: Window): Window {
  return window.map(axis => ({ ...axis, kernel: spanOf(axis), dilation: 1 }))
}

/** Every stride-th output. */
function everyStride(k: Kernels, y: Slot, window: Window): Slot {
  const begin = y.shape.map(() => 0)
  return k.stridedSlice(y, begin, [...y.shape], [1, ...window.map(axis => axis.stride), 1])
}

/** x with `stride − 1` zeros between neighbours along an axis. */
function spreadOut(k: Kernels, x: Slot, axis: number, stride: number): Slot {
  if (stride === 1) return x
  const dim = x.shape[axis]!
  const apart = k.reshape(x, [...x.shape.slice(0, axis + 1), 1, ...x.shape.slice(axis + 1)])
  const paddings = apart.shape.map((_, i): [number, number] => [0, i === axis + 1 ? stride - 1 : 0])
  const joined = k.reshape(k.pad(apart, paddings), x.shape.with(axis, dim * stride))
  return k.slice(
    joined,
    joined.shape.map(() => 0),
    joined.shape.with(axis, (dim - 1) * stride + 1),
  )
}
