/**
 * The program in operators that have CUDA kernels.
 *
 * Where the default lowering and another form were both possible, the one without atomic additions was taken: their order
 * changes from run to run, and with it the last digits of a gradient.
 */

import {
  COMPOSITE_LOWERINGS,
  lowerComposites,
  type CompositeLowerings,
  type Lowering,
} from '../../../autodiff/lowering/index.ts'
import { convWeightGradByGemm, convWeightGradByMatMul } from '../../../autodiff/lowering/convolution.ts'
import { maxPoolGradByComparison, maxPoolGradByIndices } from '../../../autodiff/lowering/pooling.ts'
import type { Value } from '../../../ir/value.ts'
import { replaceNodes } from '../../../passes/index.ts'
import { sizeOf } from '../../../tensor/shape.ts'
import type { Lowered, Program } from '../../program.ts'
import { CUDA_FORMS } from '../forms/index.ts'
import { batchNormTrainForCuda, batchNormTrainGradForCuda } from './batch-norm.ts'

/** Up to this many elements of a window, comparing each of them costs less than a form that is worth its atomics. */
const COMPARED = 25

/** By comparison where windows are small: no atomics, and no tensor of zeros to scatter into. */
const maxPoolGradForCuda: Lowering = context => {
  const taps = sizeOf(context.node.ints('kernel_shape', []))
  return taps <= COMPARED ? maxPoolGradByComparison(context) : maxPoolGradByIndices(context)
}

/** Whichever form writes less: N products of the weight's size, or both operands in another order. */
const convWeightGradForCuda: Lowering = context => {
  const { node, inputs } = context
  const [x, dy] = inputs as [Value, Value]
  const dw = node.output(0).shape
  const products = x.shape[0]! * sizeOf(dw)
  const operands = sizeOf([x.shape[0]!, x.shape[1]!, ...dw.slice(2), ...dy.shape.slice(2)]) + sizeOf(dy.shape)
  return products > operands ? convWeightGradByGemm(context) : convWeightGradByMatMul(context)
}

export const CUDA_LOWERINGS: CompositeLowerings = {
  ...COMPOSITE_LOWERINGS,
  ConvWeightGrad: convWeightGradForCuda,
  MaxPoolGrad: maxPoolGradForCuda,
  BatchNormTrain: batchNormTrainForCuda,
  BatchNormTrainGrad: batchNormTrainGradForCuda,
}

/** Lowers the composites, then puts forms with kernels in place of nodes without. */
export function lowerForCuda(program: Program): Lowered {
  const graph = lowerComposites(program.graph, CUDA_LOWERINGS)
  replaceNodes(graph, CUDA_FORMS)
  return { graph, opset: program.opset }
}
