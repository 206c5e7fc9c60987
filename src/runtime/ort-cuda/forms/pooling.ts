/** Poolings by a norm, and MaxUnpool. */

import type { Builder } from '../../../ir/builder.ts'
import type { Node } from '../../../ir/node.ts'
import type { Value } from '../../../ir/value.ts'
import { poolWindow, reachOf, windowAttributes, type Window } from '../../../ops/window.ts'
import type { NodeForm, NodeForms } from '../../../passes/index.ts'
import { sizeOf } from '../../../tensor/shape.ts'
import { Tensor } from '../../../tensor/tensor.ts'

/** (Σ |x|ᵖ)^(1/p) of what `sum` adds up. */
function norm(op: Builder, node: Node, sum: (powers: Value) => Value): Value {
  const x = node.input(0)
  const p = node.int('p', 2)
  if (p === 1) return sum(op.Abs(x))
  if (p === 2) return op.Sqrt(sum(op.Mul(x, x)))
  return op.Pow(sum(op.Pow(op.Abs(x), op.scalarLike(x, p))), op.scalarLike(x, 1 / p))
}

const globalLpPool: NodeForm = (op, node) => {
  const axes = node
    .input(0)
    .shape.map((_, axis) => axis)
    .slice(2)
  return norm(op, node, powers => op.ReduceSum(powers, axes))
}

/** The sums over windows are a convolution of each map with ones. */
const lpPoolByConv: NodeForm = (op, node) => {
  const x = node.input(0)
  if (x.dtype !== 'float32') return null
  const window = poolWindow(node)
  const kernel = window.map(axis => axis.kernel)
  const ones = op.constant(Tensor.of('float32', [1, 1, ...kernel], new Array<number>(sizeOf(kernel)).fill(1)))
  const y = node.output(0).shape
  return norm(op, node, powers => {
    const maps = op.Reshape(powers, [x.shape[0]! * x.shape[1]!, 1, ...x.shape.slice(2)])
    const shape = [maps.shape[0]!, 1, ...y.slice(2)]
    return op.Reshape(op.one('Conv', [maps, ones], { shape }, windowAttributes(exact(window))), y)
  })
}

/** Padding to the end of the last window, which ceil_mode may put behind what was stated. */
function exact(window: Window): Window {
  return window.map(axis => ({ ...axis, end: Math.max(axis.end, reachOf(axis) - axis.begin - axis.input) }))
}

/**
 * Each element to its flat position in a tensor of zeros. Where an output_shape asks for another size than the window
 * gives, positions mean something else, and the node stays.
 */
const maxUnpoolByScatter: NodeForm = (op, node) => {
  const [x, indices] = [node.input(0), node.input(1)]
  const y = node.output(0).shape
  if (y.some((size, axis) => size !== unpooledSize(node, axis))) return null
  const zeros = op.full([sizeOf(y)], 0, x.dtype)
  const count = sizeOf(x.shape)
  const flat = op.ScatterElements(zeros, op.Reshape(indices, [count]), op.Reshape(x, [count]), 0, 'none')
  return op.Reshape(flat, y)
}

function unpooledSize(node: Node, axis: number): number {
  const size = node.input(0).shape[axis]!
  if (axis < 2) return size
  const kernel = node.ints('kernel_shape', [])
  const [i, rank] = [axis - 2, kernel.length]
  const pads = node.ints('pads', new Array<number>(2 * rank).fill(0))
  const stride = node.ints('strides', new Array<number>(rank).fill(1))[i]!
  return (size - 1) * stride + kernel[i]! - pads[i]! - pads[i + rank]!
}

export const poolingForms: NodeForms = {
  GlobalLpPool: [globalLpPool],
  LpPool: [lpPoolByConv],
  MaxUnpool: [maxUnpoolByScatter],
}
