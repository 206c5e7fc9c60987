/** Scatters that reduce, of element types that the CUDA kernels take for floating-point or refuse. */

import type { Builder } from '../../../ir/builder.ts'
import type { Value } from '../../../ir/value.ts'
import type { NodeForm, NodeForms } from '../../../passes/index.ts'
import type { DType } from '../../../tensor/dtype.ts'
import { sizeOf } from '../../../tensor/shape.ts'
import { Tensor } from '../../../tensor/tensor.ts'
import { isReduced } from '../capabilities.ts'

/**
 * The type in which elements are reduced instead of their own; null where their own will do. The kernel of ScatterElements
 * is chosen by the size of an element alone: it adds int32 as if they were float32. float64 holds integers up to 2^53.
 */
const REDUCED_IN: Partial<Record<DType, DType>> = {
  bfloat16: 'float32',
  int8: 'float64',
  uint8: 'float64',
  int16: 'float64',
  uint16: 'float64',
  int32: 'float64',
  uint32: 'float64',
  int64: 'float64',
  uint64: 'float64',
}

const scatterElementsInFloat: NodeForm = (op, node) => {
  const [data, indices, updates] = [node.input(0), node.input(1), node.input(2)]
  const dtype = REDUCED_IN[data.dtype]
  if (!isReduced(node) || dtype === undefined) return null
  const attributes = { axis: node.int('axis', 0), reduction: node.string('reduction', 'none') }
  const inputs = [op.Cast(data, dtype), indices, op.Cast(updates, dtype)]
  return op.Cast(op.one('ScatterElements', inputs, { shape: data.shape }, attributes), data.dtype)
}

/** Element types whose ScatterND reduces on the device. */
const SCATTERED: ReadonlySet<DType> = new Set(['float32', 'float16'])

/** Every element of the updates to its flat position: rows of [*, k] indices are turned into positions by the strides. */
const scatterNdByElements: NodeForm = (op, node) => {
  const [data, indices, updates] = [node.input(0), node.input(1), node.input(2)]
  if (!isReduced(node) || SCATTERED.has(data.dtype)) return null
  const depth = indices.shape.at(-1)!
  const row = sizeOf(data.shape.slice(depth))
  const count = sizeOf(indices.shape.slice(0, -1))
  const first = firstElements(op, op.Reshape(indices, [count, depth]), data)
  const within = op.int64s(Array.from({ length: row }, (_, i) => i))
  const positions = op.Reshape(op.Add(first, within), [count * row])
  const flat = op.one(
    'ScatterElements',
    [op.Reshape(data, [sizeOf(data.shape)]), positions, op.Reshape(updates, [count * row])],
    { shape: [sizeOf(data.shape)] },
    { axis: 0, reduction: node.string('reduction', 'none') },
  )
  return op.Reshape(flat, data.shape)
}

/** Of each row of indices [count, k], the flat position of what it points at: [count, 1]. Negative ones count from the end. */
function firstElements(op: Builder, indices: Value, { shape }: Value): Value {
  const depth = indices.shape[1]!
  const int64s = (values: readonly number[]) =>
    op.constant(Tensor.of('int64', [1, depth], values.map(BigInt)))
  const sizes = int64s(shape.slice(0, depth))
  const strides = int64s(shape.slice(0, depth).map((_, axis) => sizeOf(shape.slice(axis + 1))))
  const counted = op.Where(op.Less(indices, op.scalar(0, 'int64')), op.Add(indices, sizes), indices)
  return op.ReduceSum(op.Mul(counted, strides), [1])
}

export const movementForms: NodeForms = {
  ScatterElements: [scatterElementsInFloat],
  ScatterND: [scatterNdByElements],
}
