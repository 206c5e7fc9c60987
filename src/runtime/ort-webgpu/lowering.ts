/** The lowering to operators that WebGPU executes, in Node and in browsers: it needs nothing of either. */

import {
  COMPOSITE_LOWERINGS,
  lowerComposites,
  type CompositeLowerings,
} from '../../autodiff/lowering/index.ts'
import { maxPoolGradByComparison } from '../../autodiff/lowering/pooling.ts'
import { replaceNodes } from '../../passes/index.ts'
import type { Lowered, Program } from '../program.ts'
import { WEBGPU_FORMS } from './forms/index.ts'
import { narrowIntegers } from './narrow.ts'

export const WEBGPU_LOWERINGS: CompositeLowerings = {
  ...COMPOSITE_LOWERINGS,
  // MaxPool's kernel has no Indices.
  MaxPoolGrad: maxPoolGradByComparison,
}

/** The program in operators that ONNX Runtime's WebGPU provider executes; what is left to the CPU is small. */
export function lowerForWebgpu(program: Program): Lowered {
  const graph = lowerComposites(program.graph, WEBGPU_LOWERINGS)
  narrowIntegers(graph)
  replaceNodes(graph, WEBGPU_FORMS)
  return { graph, opset: program.opset }
}
