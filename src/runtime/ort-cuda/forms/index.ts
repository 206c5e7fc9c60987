/** Nodes that have no CUDA kernel, in terms of nodes that have one: for float32, in which programs are trained. */

import { EXPANSIONS } from '../../../ops/expansions/index.ts'
import type { NodeForms } from '../../../passes/index.ts'
import { hyperbolicForms } from './hyperbolic.ts'
import { movementForms } from './movement.ts'
import { normalizationForms } from './normalization.ts'
import { poolingForms } from './pooling.ts'
import { convTransposeForms } from './convolution.ts'
import { reductionForms } from './reduction.ts'
import { selectionForms } from './selection.ts'
import { trigonometricForms } from './trigonometric.ts'

export const CUDA_FORMS: NodeForms = {
  ...trigonometricForms,
  ...hyperbolicForms,
  ...selectionForms,
  ...normalizationForms,
  ...poolingForms,
  ...convTransposeForms,
  ...movementForms,
  ...reductionForms,
  AffineGrid: [EXPANSIONS.AffineGrid],
  Col2Im: [EXPANSIONS.Col2Im],
  DFT: [EXPANSIONS.DFT],
  STFT: [EXPANSIONS.STFT],
}
