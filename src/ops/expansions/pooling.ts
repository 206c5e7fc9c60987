/** Poolings by a norm, and MaxUnpool. */

import type { Builder } from '../../ir/builder.ts'
import type { Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import { sizeOf } from '../../tensor/shape.ts'
import { applyAlongAxis, sumMatrix } from '../axis-matrix.ts'
import type { Expansion } from '../expansion.ts'
import { knownElements } from '../known.ts'
import { windowOver, type Window } from '../window.ts'

/** (Σ |x|ᵖ)^(1/p) of what `sum` adds up. */
export function normOf(op: Builder, node: Node, sum: (powers: Value) => Value): Value {
  const x = node.input(0)
  const p = node.int('p', 2)
  if (p === 1) return sum(op.Abs(x))
  if (p === 2) return op.Sqrt(sum(op.Mul(x, x)))
  return op.Pow(sum(op.Pow(op.Abs(x), op.scalarLike(x, p))), op.scalarLike(x, 1 / p))
}

export const globalLpPool: Expansion = (op, node) => {
  const axes = node.input(0).shape.map((_, axis) => axis)
  return normOf(op, node, powers => op.ReduceSum(powers, axes.slice(2)))
}

/** The windows of an LpPool node. */
export function lpWindow(node: Node): Window {
  return windowOver(node, node.input(0).shape, node.ints('kernel_shape', []))
}

/** Sums over windows are one matrix for each axis. */
export function lpPool(op: Builder, node: Node): Value {
  const window = lpWindow(node)
  const sum = (powers: Value) =>
    window.reduce((y, axis, i) => applyAlongAxis(op, y, i + 2, sumMatrix(axis)), powers)
  return normOf(op, node, sum)
}

/**
 * Each element to its flat position in a tensor of zeros. With an output_shape ONNX Runtime takes positions in that shape,
 * not in the one that the windows give.
 */
export const maxUnpool: Expansion = (op, node) => {
  const [x, indices] = [node.input(0), node.input(1)]
  const shape = node.inputs[2] ? knownElements(node, 2) : x.shape.map((_, axis) => unpooledSize(node, axis))
  const zeros = op.full([sizeOf(shape)], 0, x.dtype)
  const count = sizeOf(x.shape)
  const flat = op.ScatterElements(zeros, op.Reshape(indices, [count]), op.Reshape(x, [count]), 0, 'none')
  return op.Reshape(flat, shape)
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
