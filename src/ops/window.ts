/** Sliding windows: the geometry that convolutions and poolings share, forward and backward. */

import { InputError } from '../util/errors.ts'
import type { Attributes } from '../ir/builder.ts'
import type { Node } from '../ir/node.ts'
import type { Shape } from '../tensor/shape.ts'

/**
 * A window along one spatial axis: output `o` reads the inputs `o·stride + k·dilation − begin`, k = 0 .. kernel−1;
 * what lies outside [0, input) is padding.
 */
export interface WindowAxis {
  readonly input: number
  readonly output: number
  readonly kernel: number
  readonly stride: number
  readonly dilation: number
  readonly begin: number
  /** Padding behind the input as stated by `pads` or `auto_pad`; windows need not reach it, or pass it (ceil_mode). */
  readonly end: number
}

/** One record for each spatial axis. */
export type Window = readonly WindowAxis[]

/** Inputs that one window spans, holes of the dilation included. */
export function spanOf(axis: WindowAxis): number {
  return (axis.kernel - 1) * axis.dilation + 1
}

/** Inputs from the first element of the first window to the last element of the last one, padding included. */
export function reachOf(axis: WindowAxis): number {
  return (axis.output - 1) * axis.stride + spanOf(axis)
}

/** Windows that lie inside the input and its stated padding; ceil_mode may add one. */
export function wholeWindows(axis: WindowAxis): number {
  return Math.floor((axis.input + axis.begin + axis.end - spanOf(axis)) / axis.stride) + 1
}

/** The window of a Conv node, whose input, weight and output have static shapes. */
export function convWindow(node: Node): Window {
  const kernel = node.input(1).shape.slice(2)
  return slidingWindow(node, kernel, axis => Math.max(0, sameTotal(axis, spanOf(axis))))
}

/**
 * The window of a MaxPool or AveragePool node. ONNX Runtime resolves their SAME_* padding with the kernel without its
 * holes, and lets a total be negative: windows then begin inside the input (pool_attributes.h).
 */
export function poolWindow(node: Node): Window {
  const kernel = node.ints('kernel_shape', undefined)
  if (!kernel) throw new InputError(`${node.label}: attribute kernel_shape is missing`)
  return slidingWindow(node, kernel, axis => sameTotal(axis, axis.kernel))
}

/** Padding that gives ⌈input / stride⌉ windows (ONNX: auto_pad SAME_*). */
function sameTotal(axis: WindowAxis, span: number): number {
  return (Math.ceil(axis.input / axis.stride) - 1) * axis.stride + span - axis.input
}

/**
 * The window of the convolution that a ConvTranspose node transposes: it slides over y and gives x.
 * Where padding follows from the output size (output_shape, SAME_*), the odd element goes to the end for SAME_UPPER and
 * to the beginning otherwise, and a negative total counts as zero (ONNX: ConvTranspose; ONNX Runtime:
 * conv_transpose_attributes.h).
 */
export function transposedWindow(node: Node): Window {
  const kernel = node.input(1).shape.slice(2)
  return resolveTransposed(node, node.output(0).shape, node.input(0).shape, kernel)
}

function resolveTransposed(node: Node, large: Shape, small: Shape, kernel: readonly number[]): Window {
  const autoPad = node.string('auto_pad', 'NOTSET')
  const fromSize = node.attributes.has('output_shape') || autoPad.startsWith('SAME')
  const extra = node.ints('output_padding', undefined)
  return axesOf(node, large, small, kernel).map((axis, i) => {
    if (!fromSize) return autoPad === 'VALID' ? { ...axis, begin: 0, end: 0 } : axis
    const total = Math.max(0, reachOf(axis) + (extra?.[i] ?? 0) - axis.input)
    const [less, more] = [Math.floor(total / 2), Math.ceil(total / 2)]
    return autoPad === 'SAME_UPPER'
      ? { ...axis, begin: less, end: more }
      : { ...axis, begin: more, end: less }
  })
}

/** The same for an input of the given shape, before the output's is known. */
export function transposedWindowOver(node: Node, small: Shape, kernel: readonly number[]): Window {
  const stated = node.ints('output_shape', undefined)?.slice(-kernel.length)
  const extra = node.ints('output_padding', undefined)
  const autoPad = node.string('auto_pad', 'NOTSET')
  const large = axesOf(node, small, small, kernel).map((axis, i) => {
    if (stated) return stated[i]!
    // Not more than the windows reach: ONNX Runtime does not pad a result.
    if (autoPad.startsWith('SAME'))
      return Math.min(axis.output * axis.stride, reachOf(axis) + (extra?.[i] ?? 0))
    const padding = autoPad === 'VALID' ? 0 : axis.begin + axis.end
    return reachOf(axis) + (extra?.[i] ?? 0) - padding
  })
  return resolveTransposed(node, [...small.slice(0, 2), ...large], small, kernel)
}

/**
 * The window of a Conv, MaxPool or AveragePool node over an input of the given shape, its outputs counted: for graphs whose
 * shapes are not known beforehand. With ceil_mode a last window that would begin in the padding at the end is dropped
 * (ONNX Runtime: pool_attributes.h).
 */
export function windowOver(node: Node, input: Shape, kernel: readonly number[]): Window {
  const same = node.string('auto_pad', 'NOTSET').startsWith('SAME')
  const ceil = node.int('ceil_mode', 0) !== 0
  const totalOf =
    node.opType === 'Conv'
      ? (axis: WindowAxis) => Math.max(0, sameTotal(axis, spanOf(axis)))
      : (axis: WindowAxis) => sameTotal(axis, axis.kernel)
  return resolvePads(node, axesOf(node, input, input, kernel), totalOf).map(axis => {
    if (same) return { ...axis, output: Math.ceil(axis.input / axis.stride) }
    const steps = (axis.input + axis.begin + axis.end - spanOf(axis)) / axis.stride
    const output = (ceil ? Math.ceil(steps) : Math.floor(steps)) + 1
    const dropped = ceil && (output - 1) * axis.stride >= axis.input + axis.begin
    return { ...axis, output: dropped ? output - 1 : output }
  })
}

/** Attributes by which a composite node carries a window; input and output sizes are in its shapes. */
export function windowAttributes(window: Window): Attributes {
  return {
    kernel_shape: window.map(axis => axis.kernel),
    strides: window.map(axis => axis.stride),
    dilations: window.map(axis => axis.dilation),
    pads: [...window.map(axis => axis.begin), ...window.map(axis => axis.end)],
  }
}

/** Reads `windowAttributes` back; `input` and `output` are whole shapes ([N, C, spatial...]). */
export function windowOf(node: Node, input: Shape, output: Shape): Window {
  return axesOf(node, input, output, node.ints('kernel_shape', []))
}

/** Explicit attributes, defaults filled in. */
function axesOf(node: Node, input: Shape, output: Shape, kernel: readonly number[]): WindowAxis[] {
  const rank = kernel.length
  const read = (name: string, length: number, fallback: number) => {
    const values = node.ints(name, undefined) ?? new Array<number>(length).fill(fallback)
    if (values.length === length) return values
    throw new InputError(
      `${node.label}: attribute ${name} should have ${length} values, found ${values.length}`,
    )
  }
  const strides = read('strides', rank, 1)
  const dilations = read('dilations', rank, 1)
  const pads = read('pads', 2 * rank, 0)
  return kernel.map((size, i) => ({
    input: input[i + 2]!,
    output: output[i + 2]!,
    kernel: size,
    stride: strides[i]!,
    dilation: dilations[i]!,
    begin: pads[i]!,
    end: pads[i + rank]!,
  }))
}

/** Resolves `auto_pad` of Conv and the poolings; the output size is the observed one. */
function slidingWindow(node: Node, kernel: readonly number[], totalOf: (axis: WindowAxis) => number): Window {
  return resolvePads(node, axesOf(node, node.input(0).shape, node.output(0).shape, kernel), totalOf)
}

function resolvePads(node: Node, axes: Window, totalOf: (axis: WindowAxis) => number): Window {
  const autoPad = node.string('auto_pad', 'NOTSET')
  const resolve = AUTO_PAD[autoPad]
  if (!resolve) {
    const known = Object.keys(AUTO_PAD).join(', ')
    throw new InputError(`${node.label}: attribute auto_pad should be one of ${known}, found ${autoPad}`)
  }
  return axes.map(axis => {
    const [begin, end] = resolve(axis, totalOf(axis))
    return { ...axis, begin, end }
  })
}

const AUTO_PAD: Readonly<Record<string, (axis: WindowAxis, total: number) => [begin: number, end: number]>> =
  {
    NOTSET: axis => [axis.begin, axis.end],
    VALID: () => [0, 0],
    SAME_UPPER: (_, total) => split(Math.trunc(total / 2), total),
    SAME_LOWER: (_, total) => split(Math.trunc((total + 1) / 2), total),
  }

function split(begin: number, total: number): [begin: number, end: number] {
  return [begin, total - begin]
}
