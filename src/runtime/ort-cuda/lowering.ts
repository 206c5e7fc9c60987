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
} from '../../autodiff/lowering/index.ts'
import { maxPoolGradByComparison, maxPoolGradByIndices } from '../../autodiff/lowering/pooling.ts'
import { replaceNodes } from '../../passes/index.ts'
import { sizeOf } from '../../tensor/shape.ts'
import type { Lowered, Program } from '../program.ts'
import { CUDA_FORMS } from './forms/index.ts'

/** Up to this many elements of a window, comparing each of them costs less than a form that is worth its atomics. */
const COMPARED = 25

/** By comparison where windows are small: no atomics, and no tensor of zeros to scatter into. */
const maxPoolGradForCuda: Lowering = context => {
  const taps = sizeOf(context.node.ints('kernel_shape', []))
  return taps <= COMPARED ? maxPoolGradByComparison(context) : maxPoolGradByIndices(context)
}

export const CUDA_LOWERINGS: CompositeLowerings = { ...COMPOSITE_LOWERINGS, MaxPoolGrad: maxPoolGradForCuda }

/** Lowers the composites, then puts forms with kernels in place of nodes without. */
export function lowerForCuda(program: Program): Lowered {
  const graph = lowerComposites(program.graph, CUDA_LOWERINGS)
  replaceNodes(graph, CUDA_FORMS)
  return { graph, opset: program.opset }
}
