/**
 * Convolutions that the WebGPU kernels refuse or get wrong: three-dimensional ones become two-dimensional ones, the first
 * spatial axis in the batch and its kernel offsets in the channels.
 */

import type { Builder } from '../../../ir/builder.ts'
import type { Node } from '../../../ir/node.ts'
import type { Value } from '../../../ir/value.ts'
import { sliceSpatial } from '../../../ops/spatial.ts'
import {
  convWindow,
  reachOf,
  transposedWindow,
  windowAttributes,
  type WindowAxis,
} from '../../../ops/window.ts'
import type { NodeForm, NodeForms } from '../../../passes/index.ts'
import { sizeOf } from '../../../tensor/shape.ts'

/** Spatial axes of a volume. */
const VOLUME = 3

/**
 * Conv of volumes with groups, which the kernel refuses. x [N, C, D, H, W], w [M, C/G, K, h, w]: for each kernel offset of
 * the first axis the slices that it meets, side by side as channels of images,
 *
 *     [N·D', G·K·C/G, H, W] * [M, K·C/G, h, w] -> [N·D', M, H', W'].
 */
const groupedVolumes: NodeForm = (op, node) => {
  const [x, w] = [node.input(0), node.input(1)]
  const group = node.int('group', 1)
  if (x.rank !== VOLUME + 2 || group === 1) return null
  const [first, ...rest] = convWindow(node) as [WindowAxis, ...WindowAxis[]]
  const [n, c, , height, width] = x.shape as [number, number, number, number, number]
  const end = Math.max(0, reachOf(first) - first.begin - first.input)
  const padded = op.Pad(x, [0, 0, first.begin, 0, 0, 0, 0, end, 0, 0])
  const layers = op.Transpose(padded, [0, 2, 1, 3, 4])
  const parts = Array.from({ length: first.kernel }, (_, k) => {
    const start = k * first.dilation
    const stop = start + (first.output - 1) * first.stride + 1
    const met = op.Slice(layers, [start], [stop], [1], [first.stride])
    return op.Reshape(met, [n * first.output, group, c / group, height, width])
  })
  const channels = first.kernel * c
  const images = op.Reshape(op.Concat(parts, 2), [n * first.output, channels, height, width])
  const m = w.shape[0]!
  const kernel = w.shape.slice(3)
  const weight = op.Reshape(op.Transpose(w, [0, 2, 1, 3, 4]), [m, channels / group, ...kernel])
  const attributes = { ...windowAttributes(rest), group }
  const shape = [n * first.output, m, ...rest.map(axis => axis.output)]
  const inputs = node.inputs[2] ? [images, weight, node.inputs[2]] : [images, weight]
  return unfold(op, op.one('Conv', inputs, { shape }, attributes), n, first.output)
}

/**
 * ConvTranspose of volumes, which has no kernel. x [N, C, D, H, W], w [C, M/G, K, h, w]: the images' results for all K
 * offsets of the first axis at once, as channels; then layer d·stride + k·dilation gets the share of offset k of layer d.
 */
const transposedVolumes: NodeForm = (op, node) => {
  const [x, w] = [node.input(0), node.input(1)]
  if (x.rank !== VOLUME + 2) return null
  const group = node.int('group', 1)
  const [first, ...rest] = transposedWindow(node) as [WindowAxis, ...WindowAxis[]]
  const [n, c, depth] = x.shape as [number, number, number]
  const m = w.shape[1]!
  const kernel = w.shape.slice(3)
  const weight = op.Reshape(op.Transpose(w, [0, 2, 1, 3, 4]), [c, first.kernel * m, ...kernel])
  const images = op.Reshape(op.Transpose(x, [0, 2, 1, 3, 4]), [n * depth, c, ...x.shape.slice(3)])
  const plane = rest.map(axis => axis.input)
  const shares = transposedConv(op, images, weight, rest, group)
  // [N, D, G, K, rest]: one offset is a slice of axis 3.
  const size = m * sizeOf(plane)
  const split = op.Reshape(shares, [n, depth, group, first.kernel, size])
  const reach = reachOf(first)
  const layers = Array.from({ length: first.kernel }, (_, k) => {
    const share = op.Reshape(op.Slice(split, [k], [k + 1], [3]), [n, depth, 1, group * size])
    return spread(op, share, first, k * first.dilation, reach)
  }).reduce(op.Add)
  const whole = op.Pad(layers, [0, 0, 0, 0, Math.max(0, first.begin + first.input - reach), 0])
  const cut = op.Slice(whole, [first.begin], [first.begin + first.input], [1])
  const y = unfold(op, op.Reshape(cut, [n * first.input, group * m, ...plane]), n, first.input)
  return addBias(op, node, y)
}

/** Layers [N, D, 1, size] at `offset`, `offset + stride`, ... of `reach` layers, zeros between them: [N, reach, size]. */
function spread(op: Builder, x: Value, axis: WindowAxis, offset: number, reach: number): Value {
  const [n, depth, , size] = x.shape as [number, number, number, number]
  const apart = op.Pad(x, [0, 0, 0, 0, 0, 0, axis.stride - 1, 0])
  const line = op.Reshape(apart, [n, depth * axis.stride, size])
  const length = (depth - 1) * axis.stride + 1
  const layers = length === line.shape[1] ? line : op.Slice(line, [0], [length], [1])
  return op.Pad(layers, [0, offset, 0, 0, reach - offset - length, 0])
}

/** The transposed convolution of images that gives exactly the window's inputs. */
function transposedConv(
  op: Builder,
  x: Value,
  w: Value,
  window: readonly WindowAxis[],
  group: number,
): Value {
  const reach = window.map(reachOf)
  const shape = [x.shape[0]!, w.shape[1]! * group, ...reach]
  const attributes = { ...windowAttributes(window), pads: window.flatMap(() => [0, 0]), group }
  const full = op.one('ConvTranspose', [x, w], { shape }, attributes)
  const ends = window.map((axis, i) => Math.max(0, axis.begin + axis.input - reach[i]!))
  const padded = op.Pad(full, [...window.map(() => 0), 0, 0, 0, 0, ...ends])
  return sliceSpatial(
    op,
    padded,
    window.map(axis => ({ start: axis.begin, stop: axis.begin + axis.input })),
  )
}

/** Images [N·D, M, H, W] as volumes [N, M, D, H, W]. */
function unfold(op: Builder, images: Value, n: number, depth: number): Value {
  const [, m, height, width] = images.shape as [number, number, number, number]
  return op.Transpose(op.Reshape(images, [n, depth, m, height, width]), [0, 2, 1, 3, 4])
}

function addBias(op: Builder, node: Node, y: Value): Value {
  const bias = node.inputs[2]
  return bias ? op.Add(y, op.Reshape(bias, [bias.shape[0]!, ...y.shape.slice(2).map(() => 1)])) : y
}

/**
 * ConvTranspose with several groups of one output channel and an even number of input channels each: the kernel of
 * ONNX Runtime 1.30 reads the weights of all groups but the first at the wrong places. A second output channel of zeros
 * takes another way through it.
 */
const singleChannelGroups: NodeForm = (op, node) => {
  const [x, w] = [node.input(0), node.input(1)]
  const group = node.int('group', 1)
  const inputs = w.shape[0]! / group
  if (x.rank > VOLUME + 1 || group === 1 || w.shape[1] !== 1 || inputs % 2 !== 0) return null
  const { shape } = node.output(0)
  const spatial = shape.slice(2)
  const none = w.shape.map(() => 0)
  const weight = op.Pad(w, [...none, ...none.with(1, 1)])
  const wide = op.emit('ConvTranspose', [x, weight], [{ shape: shape.with(1, 2 * group) }])[0]!
  for (const [name, attribute] of node.attributes) wide.producer!.attributes.set(name, attribute)
  const pairs = op.Reshape(wide, [shape[0]!, group, 2, sizeOf(spatial)])
  return addBias(op, node, op.Reshape(op.Slice(pairs, [0], [1], [2]), shape))
}

export const convolutionForms: NodeForms = {
  Conv: [groupedVolumes],
  ConvTranspose: [transposedVolumes, singleChannelGroups],
}
