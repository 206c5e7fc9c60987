/** Operators that move or choose elements. */

import type { Node } from '../../ir/node.ts'
import { normalizeAxis, sizeOf, stridesOf } from '../../tensor/shape.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { InputError } from '../../util/errors.ts'
import type { Expansion } from '../expansion.ts'
import { knownElements } from '../known.ts'

/**
 * The first lengths[b] elements along the time axis in the opposite order. Time and batch are the two leading axes, in either
 * order: rows of the flat tensor, each gathered from where it comes.
 */
export const reverseSequence: Expansion = (op, node) => {
  const [x, lengths] = [node.input(0), node.input(1)]
  const { time, batch } = sequenceAxes(node)
  const [steps, count] = [x.shape[time]!, x.shape[batch]!]
  const line = (size: number, axis: number) =>
    op.constant(
      Tensor.of(
        'int64',
        axis === 0 ? [size, 1] : [1, size],
        Array.from({ length: size }, (_, i) => BigInt(i)),
      ),
    )
  const step = line(steps, time)
  const length = op.Reshape(lengths, batch === 0 ? [count, 1] : [1, count])
  const mirrored = op.Sub(op.Sub(length, op.scalar(1, 'int64')), step)
  const source = op.Where(op.Less(step, length), mirrored, step)
  const [outer, inner] = time === 0 ? [source, line(count, batch)] : [line(count, batch), source]
  const rows = op.Add(op.Mul(outer, op.scalar(x.shape[1]!, 'int64')), inner)
  const flat = op.Reshape(x, [steps * count, ...x.shape.slice(2)])
  return op.Gather(flat, rows, 0)
}

function sequenceAxes(node: Node): { time: number; batch: number } {
  const [time, batch] = [node.int('time_axis', 0), node.int('batch_axis', 1)]
  if (time + batch !== 1 || time * batch !== 0) {
    throw new InputError(
      `${node.label}: time_axis and batch_axis should be 0 and 1, found ${time} and ${batch}`,
    )
  }
  return { time, batch }
}

/** The elements along an axis (or of the flat tensor) at which a constant condition holds. */
export const compress: Expansion = (op, node) => {
  const x = node.input(0)
  const held = knownElements(node, 1)
  const axis = node.attributes.has('axis') ? normalizeAxis(node.int('axis', 0), x.rank, node.label) : null
  const line = axis === null ? op.Reshape(x, [sizeOf(x.shape)]) : x
  const positions = held.flatMap((holds, i) => (holds === 0 ? [] : [i]))
  return op.Gather(line, op.int64s(positions), axis ?? 0)
}

/**
 * Blocks [N, C·K, L] added up where they overlap in the image: a transposed convolution in which tap k of a channel takes
 * its block row k.
 */
export const col2Im: Expansion = (op, node) => {
  const x = node.input(0)
  const [image, block] = [knownElements(node, 1), knownElements(node, 2)]
  const taps = sizeOf(block)
  const [n, rows] = x.shape as [number, number]
  const channels = rows / taps
  const attribute = (name: string, length: number, fallback: number) =>
    node.ints(name, undefined) ?? new Array<number>(length).fill(fallback)
  const [strides, dilations] = ['strides', 'dilations'].map(name => attribute(name, block.length, 1)) as [
    readonly number[],
    readonly number[],
  ]
  const pads = attribute('pads', 2 * block.length, 0)
  const axes = image.map((size, i) => {
    const room = size + pads[i]! + pads[i + block.length]! - ((block[i]! - 1) * dilations[i]! + 1)
    return { windows: Math.floor(room / strides[i]!) + 1, left: room % strides[i]! }
  })
  const eye = Array.from({ length: rows * taps }, (_, i) => Number(i % taps === Math.floor(i / taps) % taps))
  const w = op.constant(Tensor.of(x.dtype, [rows, 1, ...block], eye))
  const blocks = op.Reshape(x, [n, rows, ...axes.map(({ windows }) => windows)])
  return op.one(
    'ConvTranspose',
    [blocks, w],
    { shape: [n, channels, ...image] },
    {
      kernel_shape: block,
      strides,
      dilations,
      pads,
      output_padding: axes.map(({ left }) => left),
      group: channels,
    },
  )
}

/**
 * Where the elements of an image come from: theta [N, d, d+1] times the homogeneous coordinates of every element, in
 * [−1, 1] between the outer elements' centres (align_corners) or edges.
 */
export const affineGrid: Expansion = (op, node) => {
  const theta = node.input(0)
  const size = knownElements(node, 1).slice(2)
  const [n, d] = [theta.shape[0]!, size.length]
  const aligned = node.int('align_corners', 0) !== 0
  const coordinate = (i: number, length: number) =>
    aligned ? (length === 1 ? 0 : (2 * i) / (length - 1) - 1) : (2 * i + 1) / length - 1
  const strides = stridesOf(size)
  const count = sizeOf(size)
  const points = Array.from({ length: count }, (_, i) => {
    const place = size.map((length, axis) => coordinate(Math.floor(i / strides[axis]!) % length, length))
    return [...place.reverse(), 1]
  })
  const base = op.constant(Tensor.of(theta.dtype, [1, count, d + 1], points.flat()))
  return op.Reshape(op.MatMul(base, op.Transpose(theta, [0, 2, 1])), [n, ...size, d])
}
