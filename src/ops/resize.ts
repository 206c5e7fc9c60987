/**
 * Resize as one constant matrix for each axis (ONNX: Resize 19; ONNX Runtime: upsamplebase.h, upsample.cc). Coordinates
 * are computed in float32, step by step as ONNX Runtime does: near the half-way points of nearest interpolation the
 * rounding of a coordinate decides which element is read.
 */

import { InputError, UnsupportedError } from '../util/errors.ts'
import { normalizeAxis, sameShape } from '../tensor/shape.ts'
import type { Node } from '../ir/node.ts'
import { axisMatrix, type AxisMatrix } from './axis-matrix.ts'
import { cubicPolynomials } from './cubic.ts'
import { choose } from './choose.ts'

/** The elements of the optional inputs of a Resize node; null where the input is absent or empty. */
export interface ResizeInputs {
  readonly roi: readonly number[] | null
  readonly scales: readonly number[] | null
  readonly sizes: readonly number[] | null
}

/** What a coordinate transformation sees of one axis. */
interface ResizeAxis {
  readonly input: number
  readonly output: number
  readonly scale: number
  readonly start: number
  readonly end: number
}

const f = Math.fround

/** x_original from x_resized; the names are those of `coordinate_transformation_mode`. */
const COORDINATES: Readonly<Record<string, (x: number, axis: ResizeAxis) => number>> = {
  half_pixel: (x, { scale }) => f(f(f(x + 0.5) / scale) - 0.5),
  half_pixel_symmetric: (x, { input, output, scale }) => {
    const adjustment = f(output / f(scale * input))
    const offset = f(f(input / 2) * f(1 - adjustment))
    return f(offset + (x + 0.5) / scale - 0.5)
  },
  pytorch_half_pixel: (x, { output, scale }) => (output > 1 ? f(f(f(x + 0.5) / scale) - 0.5) : 0),
  tf_half_pixel_for_nn: (x, { scale }) => f(f(x + 0.5) / scale),
  asymmetric: (x, { scale }) => f(x / scale),
  align_corners: (x, { input, output }) => (output === 1 ? 0 : f(f(x * (input - 1)) / (output - 1))),
  tf_crop_and_resize: (x, { input, output, start, end }) =>
    output > 1
      ? f(f(start * (input - 1)) + f(f(f(x * f(end - start)) * (input - 1)) / (output - 1)))
      : f(0.5 * f(start + end) * (input - 1)),
}

/** Half away from zero, as C's `round`. */
const round = (x: number) => Math.sign(x) * Math.floor(Math.abs(x) + 0.5)

const NEAREST: Readonly<Record<string, (x: number) => number>> = {
  round_prefer_floor: x => (x === Math.trunc(x) + 0.5 ? Math.floor(x) : round(x)),
  // ONNX Runtime 1.30 takes what lies less than 1e-6 below half for half (measured).
  round_prefer_ceil: x => Math.floor(x + 0.5 + 1e-6),
  floor: Math.floor,
  ceil: Math.ceil,
}

/** The weights of one output element: pairs of input index and weight. */
type Taps = readonly (readonly [index: number, weight: number])[]
type Interpolation = (x: number, axis: ResizeAxis) => Taps

const clamped = (index: number, { input }: ResizeAxis) => Math.min(Math.max(index, 0), input - 1)

/** Linear: the two neighbours of the coordinate, after clamping it to the tensor. */
const linear: Interpolation = (x, axis) => {
  const at = clamped(x, axis)
  const low = Math.floor(at)
  const weight = f(at - low)
  return weight === 0
    ? [[low, 1]]
    : [
        [low, f(1 - weight)],
        [low + 1, weight],
      ]
}

const nearest =
  (pick: (x: number) => number): Interpolation =>
  (x, axis) => [[clamped(pick(x), axis), 1]]

/** What lies outside is left out and the other weights add up to one again, or it is the element at the edge. */
function bounded(taps: Taps, axis: ResizeAxis, excludeOutside: boolean): Taps {
  if (!excludeOutside) return taps.map(([index, weight]) => [clamped(index, axis), weight])
  const held = taps.filter(([index]) => index >= 0 && index < axis.input)
  const total = held.reduce((sum, [, weight]) => f(sum + weight), 0)
  return held.map(([index, weight]) => [index, f(weight / total)])
}

function cubic(node: Node): Interpolation {
  const { a, excludeOutside } = cubicOptions(node)
  const weights = cubicPolynomials(a)
  return (x, axis) => {
    const low = Math.floor(x)
    const t = f(x - low)
    const taps = weights.map(([c0, c1, c2, c3], k): [number, number] => [
      low - 1 + k,
      f(((c3! * t + c2!) * t + c1!) * t + c0!),
    ])
    return bounded(taps, axis, excludeOutside)
  }
}

function cubicOptions(node: Node) {
  return {
    a: node.float('cubic_coeff_a', -0.75),
    excludeOutside: node.int('exclude_outside', 0) !== 0,
  }
}

/** The weight of an element by its distance from the point, and the distance from which on it is zero. */
interface Filter {
  readonly reach: number
  readonly weight: (distance: number) => number
}

const triangle: Filter = { reach: 1, weight: distance => Math.max(0, 1 - distance) }

function cubicFilter(a: number): Filter {
  return {
    reach: 2,
    weight: d => (d < 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0),
  }
}

/** An axis that is made smaller takes the mean of what its elements cover: the filter is as wide as they are. */
const widened =
  ({ reach, weight }: Filter, excludeOutside: boolean): Interpolation =>
  (x, axis) => {
    if (axis.input === axis.output) return [[x, 1]]
    const ratio = Math.max(1, f(1 / axis.scale))
    const [center, support] = [f(x + 0.5), f(reach * ratio)]
    const [from, to] = [-support, support].map(side => Math.floor(f(f(center + side) + 0.5))) as [
      number,
      number,
    ]
    const taps = Array.from({ length: to - from }, (_, k): [number, number] => [
      from + k,
      f(weight(Math.abs(f(f(from + k - center + 0.5) / ratio)))),
    ])
    // Weights from beyond the edges count in the sum that they are divided by.
    const inside = bounded(taps, axis, excludeOutside)
    const total = inside.reduce((sum, [, share]) => f(sum + share), 0)
    return inside.map(([index, share]) => [index, total === 0 ? share : f(share / total)])
  }

/** The interpolation of each mode, plain and with `antialias`. */
const MODES: Readonly<
  Record<
    string,
    { readonly plain: (node: Node) => Interpolation; readonly antialias?: (node: Node) => Interpolation }
  >
> = {
  nearest: { plain: node => nearest(choose(node, 'nearest_mode', 'round_prefer_floor', NEAREST)) },
  linear: {
    plain: () => linear,
    antialias: node => widened(triangle, cubicOptions(node).excludeOutside),
  },
  cubic: {
    plain: cubic,
    antialias: node => {
      const { a, excludeOutside } = cubicOptions(node)
      return widened(cubicFilter(a), excludeOutside)
    },
  },
}

/** One matrix for each axis of x: y = M₀ ⊗ M₁ ⊗ ... applied to x; identity on axes that are not resized. */
export function resizeMatrices(node: Node, inputs: ResizeInputs): AxisMatrix[] {
  const mode = choose(node, 'mode', 'nearest', MODES)
  const make = node.int('antialias', 0) === 0 ? mode.plain : mode.antialias
  if (!make) throw new UnsupportedError(`${node.label}: Resize with mode nearest has no antialias`)
  const interpolation = make(node)
  const transformation = node.string('coordinate_transformation_mode', 'half_pixel')
  const coordinate = choose(node, 'coordinate_transformation_mode', 'half_pixel', COORDINATES)
  const crops = transformation === 'tf_crop_and_resize'
  return axesOf(node, inputs).map(axis => tabulate(axis, interpolation, coordinate, crops))
}

function tabulate(
  axis: ResizeAxis,
  interpolation: Interpolation,
  coordinate: (x: number, axis: ResizeAxis) => number,
  crops: boolean,
): AxisMatrix {
  const matrix = axisMatrix(axis.output, axis.input)
  for (let o = 0; o < axis.output; o++) {
    // ONNX Runtime leaves an axis of scale 1 alone in every mode.
    const x = axis.scale === 1 ? o : coordinate(o, axis)
    // Outside of the tensor tf_crop_and_resize gives extrapolation_value: a constant, so the row is zero.
    if (crops && (x < 0 || x > axis.input - 1)) continue
    for (const [i, weight] of interpolation(x, axis)) matrix.data[o * axis.input + i]! += weight
  }
  return matrix
}

/** Spreads scales and roi, which may be given for some `axes` only, over all axes. */
function axesOf(node: Node, { roi, scales, sizes }: ResizeInputs): ResizeAxis[] {
  const x = node.input(0).shape
  const y = node.output(0).shape
  const axes = (node.ints('axes', undefined) ?? x.map((_, i) => i)).map(axis =>
    normalizeAxis(axis, x.length, node.label),
  )
  if (!scales && !sizes)
    throw new InputError(`${node.label}: expected scales or sizes as input, found neither`)
  const ratios = scales?.map(f) ?? axes.map((axis, i) => f(sizes![i]! / x[axis]!))
  // With keep_aspect_ratio_policy the sizes are bounds, and all axes share the smaller or the larger ratio.
  const policy = scales ? 'stretch' : node.string('keep_aspect_ratio_policy', 'stretch')
  const common =
    policy === 'not_larger' ? Math.min(...ratios) : policy === 'not_smaller' ? Math.max(...ratios) : null
  // ONNX Runtime copies a tensor whose shape does not change, whatever the scales.
  const copied = sameShape(x, y)
  return x.map((input, axis) => {
    const at = axes.indexOf(axis)
    const scale = at < 0 || copied ? 1 : (common ?? ratios[at]!)
    const [start, end] = at < 0 || !roi ? [0, 1] : [f(roi[at]!), f(roi[at + axes.length]!)]
    return { input, output: y[axis]!, scale, start, end }
  })
}
