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
} from '../../../autodiff/lowering/index.ts'
import { replaceNodes } from '../../../passes/index.ts'
import type { Lowered, Program } from '../../program.ts'
import { CUDA_FORMS } from '../forms/index.ts'
import { batchNormTrainForCuda, batchNormTrainGradForCuda } from './batch-norm.ts'
import { convWeightGradForCuda } from './conv-weight-grad.ts'
import { maxPoolGradForCuda } from './max-pool-grad.ts'

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
