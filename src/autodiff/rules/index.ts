/** All gradient rules, by operator. */

import type { RuleTable } from '../rule.ts'
import { activationRules } from './activations.ts'
import { convolutionRules } from './convolution.ts'
import { elementwiseRules } from './elementwise.ts'
import { fusedRules } from './fused.ts'
import { indexingRules } from './indexing.ts'
import { linalgRules } from './linalg.ts'
import { lossRules } from './loss.ts'
import { movementRules } from './movement.ts'
import { normalizationRules } from './normalization.ts'
import { poolingRules } from './pooling.ts'
import { recurrentRules } from './recurrent/index.ts'
import { reductionRules } from './reduction.ts'
import { resizeRules } from './resize.ts'
import { samplingRules } from './sampling.ts'
import { scatteringRules } from './scattering.ts'
import { softmaxRules } from './softmax.ts'
import { spectralRules } from './spectral.ts'
import { windowRules } from './window.ts'

export const RULES: RuleTable = {
  ...elementwiseRules,
  ...activationRules,
  ...linalgRules,
  ...convolutionRules,
  ...poolingRules,
  ...normalizationRules,
  ...resizeRules,
  ...movementRules,
  ...windowRules,
  ...reductionRules,
  ...softmaxRules,
  ...indexingRules,
  ...scatteringRules,
  ...samplingRules,
  ...spectralRules,
  ...recurrentRules,
  ...fusedRules,
  ...lossRules,
}
