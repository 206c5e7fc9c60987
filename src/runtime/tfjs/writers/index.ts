/** The kernel writer of each operator. */

import type { WriterTable } from '../writer.ts'
import { activationWriters } from './activations.ts'
import { constantWriters } from './constants.ts'
import { convolutionWriters } from './convolution.ts'
import { elementwiseWriters } from './elementwise.ts'
import { indexingWriters } from './indexing.ts'
import { linalgWriters } from './linalg.ts'
import { movementWriters } from './movement.ts'
import { normalizationWriters } from './normalization.ts'
import { poolingWriters } from './pooling.ts'
import { reductionWriters } from './reduction.ts'
import { resizeWriters } from './resize.ts'
import { windowWriters } from './window.ts'

export const WRITERS: WriterTable = {
  ...elementwiseWriters,
  ...activationWriters,
  ...linalgWriters,
  ...convolutionWriters,
  ...poolingWriters,
  ...normalizationWriters,
  ...resizeWriters,
  ...movementWriters,
  ...windowWriters,
  ...constantWriters,
  ...reductionWriters,
  ...indexingWriters,
}
