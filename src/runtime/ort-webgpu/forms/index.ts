/** Standard operators that WebGPU lacks, refuses or gets wrong, and what stands in their place. */

import { EXPANSIONS } from '../../../ops/expansions/index.ts'
import { FUSIONS, RECURRENT_STEPS, type NodeForms } from '../../../passes/index.ts'
import { convolutionForms } from './convolution.ts'
import { elementwiseForms } from './elementwise.ts'
import { movementForms } from './movement.ts'
import { normalizationForms } from './normalization.ts'
import { poolingForms } from './pooling.ts'
import { positionForms } from './positions.ts'
import { trigonometryForms } from './trigonometry.ts'

/** What it has no kernel for (for GridSample: in its newer versions), written out; and Einsum, which its kernel knows in part. */
const WRITTEN_OUT: NodeForms = Object.fromEntries(
  Object.entries(EXPANSIONS).map(([name, expand]) => [name, [expand]]),
)

export const WEBGPU_FORMS: NodeForms = {
  ...WRITTEN_OUT,
  // Some of these kernels are incomplete (masks by keys) or wrong (a fused Conv that adds its fourth input).
  ...FUSIONS,
  ...convolutionForms,
  ...elementwiseForms,
  ...movementForms,
  ...normalizationForms,
  ...poolingForms,
  ...positionForms,
  ...trigonometryForms,
  // RNN has no kernel, and those of LSTM and GRU know the default activations only.
  ...RECURRENT_STEPS,
}
