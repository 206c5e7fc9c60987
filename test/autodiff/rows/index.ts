/** A row for every way of using every operator that has a gradient rule. */

import type { GradRow } from '../../support/grad-row.ts'
import { activationRows } from './activations.ts'
import { convolutionRows } from './convolution.ts'
import { elementwiseRows } from './elementwise.ts'
import { fusedRows } from './fused.ts'
import { indexingRows } from './indexing.ts'
import { linalgRows } from './linalg.ts'
import { lossRows } from './loss.ts'
import { movementRows } from './movement.ts'
import { normalizationRows } from './normalization.ts'
import { poolingRows } from './pooling.ts'
import { recurrentRows } from './recurrent.ts'
import { reductionRows } from './reduction.ts'
import { resizeRows } from './resize.ts'
import { samplingRows } from './sampling.ts'
import { scatteringRows } from './scattering.ts'
import { softmaxRows } from './softmax.ts'
import { spectralRows } from './spectral.ts'

export const GRAD_ROWS: readonly GradRow[] = [
  ...elementwiseRows,
  ...activationRows,
  ...linalgRows,
  ...convolutionRows,
  ...poolingRows,
  ...normalizationRows,
  ...resizeRows,
  ...movementRows,
  ...reductionRows,
  ...softmaxRows,
  ...indexingRows,
  ...scatteringRows,
  ...samplingRows,
  ...spectralRows,
  ...recurrentRows,
  ...fusedRows,
  ...lossRows,
]
