/** The weight gradient of a convolution for GPUs: products of large matrices, with few passes to bring operands in order. */

import { convWeightGradByMatMul, windowSlices } from '../../../autodiff/lowering/convolution.ts'
import type { Lowering } from '../../../autodiff/lowering/index.ts'
import type { Builder } from '../../../ir/builder.ts'
import type { Value } from '../../../ir/value.ts'
import { windowOf, type Window } from '../../../ops/window.ts'
import { sizeOf } from '../../../tensor/shape.ts'

/** Whichever form writes less: N products of the weight's size, or both operands in another order. */
export const convWeightGradForCuda: Lowering = context => {
  const { node, inputs } = context
  const [x, dy] = inputs as [Value, Value]
  const products = x.shape[0]! * sizeOf(node.output(0).shape)
  return products > sizeOf(x.shape) + sizeOf(dy.shape)
    ? convWeightGradByGemm(context)
    : convWeightGradByMatMul(context)
}

/**
 * As by MatMul, but the batch lies in the summed axis of one product instead of in a batch of products that are added up
 * afterwards: no intermediate of N times the weight's size.
 */
export const convWeightGradByGemm: Lowering = ({ op, node, inputs: [x, dy] }) => {
  const dw = node.output(0).shape
  const window = windowOf(node, x!.shape, dy!.shape)
  const group = node.int('group', 1)
  const [n, c] = x!.shape as [number, number]
  const m = dy!.shape[1]!
  const sums = n * sizeOf(dy!.shape.slice(2))
  const rows = (c / group) * sizeOf(dw.slice(2))
  const columns = areTiles(window) ? tiles(op, x!, window) : overlapping(op, x!, window)
  const matrix = op.Reshape(columns, [group, rows, sums])
  const dyMatrix = op.Reshape(channelsFirst(op, dy!), [group, m / group, sums])
  // [G, M/G, N·O] · [G, N·O, rows]: the weight's own order.
  const product = op.MatMul(dyMatrix, op.Transpose(matrix, [0, 2, 1]))
  return [op.Reshape(op.Cast(product, node.output(0).dtype), dw)]
}

/** [N, C, i...] as [C, N, i...]. */
function channelsFirst(op: Builder, x: Value): Value {
  return op.Transpose(x, [1, 0, ...x.shape.slice(2).map((_, i) => i + 2)])
}

/** Whether the windows lie side by side and cover the input: patches, and kernels of one element. */
function areTiles(window: Window): boolean {
  return window.every(
    ({ begin, stride, kernel, dilation, output, input }) =>
      begin === 0 && stride === kernel && (dilation === 1 || kernel === 1) && output * kernel === input,
  )
}

/** What each kernel offset meets, [C, k..., N, o...]: for tiles it is x in another order. */
function tiles(op: Builder, x: Value, window: Window): Value {
  if (window.every(({ kernel }) => kernel === 1)) return channelsFirst(op, x)
  const [n, c] = x.shape as [number, number]
  const split = op.Reshape(x, [n, c, ...window.flatMap(({ output, kernel }) => [output, kernel])])
  const outputs = window.map((_, i) => 2 + 2 * i)
  return op.Transpose(split, [1, ...outputs.map(axis => axis + 1), 0, ...outputs])
}

/** The same for any window, [C, k·N, o...]: a slice for each offset, of what has its channels first already. */
function overlapping(op: Builder, x: Value, window: Window): Value {
  return op.Concat(windowSlices(op, channelsFirst(op, x), window), 1)
}
