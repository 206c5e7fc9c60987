/** Standard operators that WebGPU lacks, refuses or gets wrong, and what stands in their place. */

import type { NodeForms } from '../../../passes/index.ts'
import { convolutionForms } from './convolution.ts'
import { elementwiseForms } from './elementwise.ts'
import { normalizationForms } from './normalization.ts'
import { positionForms } from './positions.ts'

export const WEBGPU_FORMS: NodeForms = {
  ...convolutionForms,
  ...elementwiseForms,
  ...normalizationForms,
  ...positionForms,
}
