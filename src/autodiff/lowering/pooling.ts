/** Lowerings of the pooling gradients to standard operators. */

import { applyAlongAxis, averageMatrix, transposed } from '../../ops/axis-matrix.ts'
import { wholeWindows, windowAttributes, windowOf } from '../../ops/window.ts'
import { sizeOf } from '../../tensor/shape.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { convInputGrad } from '../composites.ts'
import { windowSlices } from './convolution.ts'
import type { Lowering, LoweringContext } from './lower.ts'
import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'

/**
 * dx.flat[indices[o]] += dy[o], where indices are the second output of the MaxPool node: flat positions in the whole of x
 * in row-major order. WebGPU's MaxPool has no such output.
 */
export const maxPoolGradByIndices: Lowering = context => {
  const { op, node, inputs } = context
  const [dy, x] = inputs as [Value, Value]
  const indices = op.Reshape(indicesOf(context), [sizeOf(dy.shape)])
  const updates = summable(op, op.Reshape(dy, [sizeOf(dy.shape)]))
  const zeros = op.full([sizeOf(x.shape)], 0, updates.dtype)
  const flat = op.ScatterElements(zeros, indices, updates, 0, 'add')
  return [op.Cast(op.Reshape(flat, node.output(0).shape), x.dtype)]
}

/** float16 as float32: gradients that meet are added up in it. */
export function summable(op: Builder, x: Value): Value {
  return x.dtype === 'float16' ? op.Cast(x, 'float32') : x
}

/** The Indices of the forward node, or of a second MaxPool where the forward graph has another operator in its place. */
export function indicesOf({ op, node, inputs, companion }: LoweringContext): Value {
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

/**
 * Without indices: the windows' elements are compared with y offset by offset, the first that equals it takes dy and leaves
 * nothing for later ones. Each share goes back to its offset: the input gradient of a convolution whose weight for share k
 * is one at offset k. Uses operators that every engine has.
 */
export const maxPoolGradByComparison: Lowering = ({ op, node, inputs }) => {
  const [dy, x, y] = inputs as [Value, Value, Value]
  const window = windowOf(node, x.shape, y.shape)
  const images = x.shape[0]! * x.shape[1]!
  const [small, large] = [dy.shape, x.shape].map(shape => [images, 1, ...shape.slice(2)]) as [
    number[],
    number[],
  ]
  const maxima = op.Reshape(y, small)
  const zero = op.scalarLike(dy, 0)
  let rest = op.Reshape(dy, small)
  const shares = windowSlices(op, op.Reshape(x, large), window, -Infinity).map(slice => {
    const hit = op.Equal(slice, maxima)
    const share = op.Where(hit, rest, zero)
    rest = op.Where(hit, zero, rest)
    return share
  })
  const kernel = window.map(axis => axis.kernel)
  const count = shares.length
  const oneHot = Array.from({ length: count * count }, (_, i) => Number(i % (count + 1) === 0))
  const weight = op.constant(Tensor.of(x.dtype, [count, 1, ...kernel], oneHot))
  return [op.Reshape(convInputGrad(op, op.Concat(shares, 1), weight, large, window, 1), x.shape)]
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
