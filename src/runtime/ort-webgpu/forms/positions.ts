/** Operators of positions and sources of constants, in int32 where ONNX has int64. */

import type { Builder } from '../../../ir/builder.ts'
import { ONNX_DOMAIN } from '../../../ir/node.ts'
import type { Value } from '../../../ir/value.ts'
import type { NodeForm, NodeForms } from '../../../passes/index.ts'
import { normalizeAxis, type Shape } from '../../../tensor/shape.ts'
import { Tensor } from '../../../tensor/tensor.ts'
import { WEBGPU_CAPABILITIES } from '../capabilities.ts'

/** Where an index, counted from the end if it is negative, equals the class; an index out of range fits none. */
const oneHot: NodeForm = (op, node) => {
  const [indices, values] = [node.input(0), node.input(2)]
  if (!isOnDevice(values)) return null
  const { shape } = node.output(0)
  const axis = normalizeAxis(node.int('axis', -1), shape.length, node.label)
  const depth = shape[axis]!
  const index = op.Reshape(op.Cast(indices, 'int32'), shape.with(axis, 1))
  const fromEnd = op.Add(index, op.scalar(depth, 'int32'))
  const whole = op.Where(op.Less(index, op.scalar(0, 'int32')), fromEnd, index)
  const hot = op.Equal(whole, counted(op, depth, shape.length - axis))
  const [off, on] = [0, 1].map(i => op.Reshape(op.Slice(values, [i], [i + 1], [0]), [])) as [Value, Value]
  return op.Where(hot, on, off)
}

const constantOfShape: NodeForm = (op, node) => {
  const y = node.output(0)
  if (!isOnDevice(y)) return null
  const value = node.tensor('value')?.toNumbers()[0] ?? 0
  return op.full(y.shape, value, y.dtype)
}

/** One where column − row is k. */
const eyeLike: NodeForm = (op, node) => {
  const y = node.output(0)
  if (!isOnDevice(y)) return null
  const [rows, columns] = y.shape as [number, number]
  const diagonal = op.Add(counted(op, rows, 2), op.scalar(node.int('k', 0), 'int32'))
  return op.Cast(op.Equal(counted(op, columns, 1), diagonal), y.dtype)
}

/**
 * The first maximum's position in int32, where that is what a Cast makes of ArgMax's int64: the smallest of the positions
 * whose element is the maximum.
 */
const argMaxInInt32: NodeForm = (op, node) => {
  const source = node.input(0).producer
  const isFirst = source?.domain === ONNX_DOMAIN && source.int('select_last_index', 0) === 0
  if (node.output(0).dtype !== 'int32' || source?.opType !== 'ArgMax' || !isFirst) return null
  const x = source.input(0)
  if (!isOnDevice(x)) return null
  const axis = normalizeAxis(source.int('axis', 0), x.rank, source.label)
  const size = x.shape[axis]!
  const largest = op.Equal(x, op.ReduceMax(x, [axis]))
  const position = op.Where(largest, counted(op, size, x.rank - axis), op.scalar(size, 'int32'))
  const shape = x.shape.with(axis, 1)
  const first = op.one('ReduceMin', [position, op.int64s([axis])], { shape }, { keepdims: 1 })
  return op.Reshape(first, node.output(0).shape)
}

/** Blocks of b x b elements to channels, block axes first: [N, C, H/b, b, W/b, b] -> [N, b, b, C, H/b, W/b]. */
const spaceToDepth: NodeForm = (op, node) => {
  const x = node.input(0)
  const [n, c, h, w] = x.shape as [number, number, number, number]
  const b = node.int('blocksize', 1)
  const blocks = op.Reshape(x, [n, c, h / b, b, w / b, b])
  return op.Reshape(op.Transpose(blocks, [0, 3, 5, 1, 2, 4]), node.output(0).shape)
}

export const positionForms: NodeForms = {
  OneHot: [oneHot],
  ConstantOfShape: [constantOfShape],
  EyeLike: [eyeLike],
  Cast: [argMaxInInt32],
  SpaceToDepth: [spaceToDepth],
}

/** 0, 1, ..., length − 1 in int32, along the first of `rank` axes. */
function counted(op: Builder, length: number, rank: number): Value {
  const shape: Shape = Array.from({ length: rank }, (_, i) => (i === 0 ? length : 1))
  return op.constant(
    Tensor.of(
      'int32',
      shape,
      Array.from({ length }, (_, i) => i),
    ),
  )
}

function isOnDevice(value: Value): boolean {
  return WEBGPU_CAPABILITIES.dtypes.has(value.dtype)
}
