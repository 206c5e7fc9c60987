/**
 * Operators written out in simpler standard ones. Gradient rules differentiate them where no shorter gradient is known, and
 * engines that lack an operator run them in its place.
 */

import type { Expansions } from '../expansion.ts'
import { deformConv } from './deform-conv.ts'
import { einsum } from './einsum.ts'
import { shrink } from './elementwise.ts'
import { gridSample } from './grid-sample.ts'
import { negativeLogLikelihoodLoss, softmaxCrossEntropyLoss } from './loss.ts'
import { affineGrid, col2Im, compress, reverseSequence } from './movement.ts'
import { lrn, meanVarianceNormalization } from './normalization.ts'
import { globalLpPool, lpPool, maxUnpool } from './pooling.ts'
import { roiAlign } from './roi-align.ts'
import { dft, stft } from './spectral.ts'

export const EXPANSIONS = {
  AffineGrid: affineGrid,
  Col2Im: col2Im,
  Compress: compress,
  DFT: dft,
  DeformConv: deformConv,
  Einsum: einsum,
  GlobalLpPool: globalLpPool,
  GridSample: gridSample,
  LRN: lrn,
  LpPool: lpPool,
  MaxUnpool: maxUnpool,
  MeanVarianceNormalization: meanVarianceNormalization,
  NegativeLogLikelihoodLoss: negativeLogLikelihoodLoss,
  ReverseSequence: reverseSequence,
  RoiAlign: roiAlign,
  STFT: stft,
  Shrink: shrink,
  SoftmaxCrossEntropyLoss: softmaxCrossEntropyLoss,
} satisfies Expansions
