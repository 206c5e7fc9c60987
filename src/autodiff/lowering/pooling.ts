/** Lowerings of the pooling gradients to standard operators. */

import { applyAlongAxis, averageMatrix, transposed } from '../../ops/axis-matrix.ts'
import { wholeWindows, windowAttributes, windowOf } from '../../ops/window.ts'
import { sizeOf } from '../../tensor/shape.ts'
import type { Lowering, LoweringContext } from './lower.ts'
import type { Value } from '../../ir/value.ts'

/**
 * dx.flat[indices[o]] += dy[o], where indices are the second output of the MaxPool node: flat positions in the whole of x
 * in row-major order. WebGPU's MaxPool has no such output.
 */
export const maxPoolGradByIndices: Lowering = context => {
  const { op, node, inputs } = context
  const [dy, x] = inputs as [Value, Value]
  const indices = op.Reshape(indicesOf(context), [sizeOf(dy.shape)])
  const zeros = op.full([sizeOf(x.shape)], 0, x.dtype)
  const flat = op.ScatterElements(zeros, indices, op.Reshape(dy, [sizeOf(dy.shape)]), 0, 'add')
  return [op.Reshape(flat, node.output(0).shape)]
}

/** The Indices of the forward node, or of a second MaxPool where the forward graph has another operator in its place. */
function indicesOf({ op, node, inputs, companion }: LoweringContext): Value {
  const [, x, y] = inputs as [Value, Value, Value]
  const spec = { shape: y.shape, dtype: 'int64' as const }
  // Column-major storage_order counts H before W.
  const rowMajor = y.producer?.int('storage_order', 0) === 0
  const found = rowMajor ? companion(y, 'MaxPool', 1, spec) : null
  if (found) return found
  const window = windowOf(node, x.shape, y.shape)
  const ceil = window.some(axis => axis.output > wholeWindows(axis))
  const attributes = { ...windowAttributes(window), ceil_mode: Number(ceil) }
  return op.emit('MaxPool', [x], [{ shape: y.shape }, spec], attributes)[1]!
}

/** Average pooling is the product of one matrix for each axis; its gradient is that of the transposed matrices. */
export const averagePoolGradByMatMul: Lowering = ({ op, node, inputs: [dy] }) => {
  const window = windowOf(node, node.output(0).shape, dy!.shape)
  const countIncludePad = node.int('count_include_pad', 0) !== 0
  return [
    window.reduce(
      (g, axis, i) => applyAlongAxis(op, g, i + 2, transposed(averageMatrix(axis, countIncludePad))),
      dy!,
    ),
  ]
}
