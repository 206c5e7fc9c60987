/**
 * Resize as one constant matrix for each axis (ONNX: Resize 19; ONNX Runtime: upsamplebase.h, upsample.cc). Coordinates
 * are computed in float32, step by step as ONNX Runtime does: near the half-way points of nearest interpolation the
 * rounding of a coordinate decides which element is read.
 */

import { InputError, UnsupportedError } from '../util/errors.ts'
import { normalizeAxis, sameShape } from '../tensor/shape.ts'
import type { Node } from '../ir/node.ts'
import { axisMatrix, type AxisMatrix } from './axis-matrix.ts'

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
type Interpolation = (x: number, input: number) => Taps

/** Linear: the two neighbours of the coordinate, after clamping it to the tensor. */
const linear: Interpolation = (x, input) => {
  const at = Math.min(Math.max(x, 0), input - 1)
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
  (x, input) => [[Math.min(Math.max(pick(x), 0), input - 1), 1]]

/** One matrix for each axis of x: y = M₀ ⊗ M₁ ⊗ ... applied to x; identity on axes that are not resized. */
export function resizeMatrices(node: Node, inputs: ResizeInputs): AxisMatrix[] {
  const mode = node.string('mode', 'nearest')
  const interpolations: Readonly<Record<string, () => Interpolation>> = {
    nearest: () => nearest(choose(node, 'nearest_mode', 'round_prefer_floor', NEAREST)),
    linear: () => linear,
  }
  const interpolation = interpolations[mode]
  if (!interpolation) {
    throw new UnsupportedError(
      `${node.label}: Resize with mode ${mode} has no gradient, expected nearest or linear`,
    )
  }
  if (node.int('antialias', 0) !== 0) {
    throw new UnsupportedError(`${node.label}: Resize with antialias has no gradient`)
  }
  const transformation = node.string('coordinate_transformation_mode', 'half_pixel')
  const coordinate = choose(node, 'coordinate_transformation_mode', 'half_pixel', COORDINATES)
  const crops = transformation === 'tf_crop_and_resize'
  return axesOf(node, inputs).map(axis => tabulate(axis, interpolation(), coordinate, crops))
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
    for (const [i, weight] of interpolation(x, axis.input)) matrix.data[o * axis.input + i]! += weight
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

function choose<T>(node: Node, attribute: string, fallback: string, table: Readonly<Record<string, T>>): T {
  const name = node.string(attribute, fallback)
  const found = table[name]
  if (found) return found
  const known = Object.keys(table).join(', ')
  throw new UnsupportedError(`${node.label}: attribute ${attribute} should be one of ${known}, found ${name}`)
}
