/** The lowering of each composite that holds for any engine; engines replace rows by what they do better. */

import { afterByChoice } from './after.ts'
import { convInputGradByTranspose, convWeightGradByMatMul } from './convolution.ts'
import type { CompositeLowerings } from './lower.ts'
import { sigmoidCrossEntropyByParts, softmaxCrossEntropyByParts } from './loss.ts'
import {
  batchNormTrainByInference,
  batchNormTrainGradByChannel,
  layerNormGradByStatistics,
} from './normalization.ts'
import { averagePoolGradByMatMul, maxPoolGradByIndices } from './pooling.ts'
import { inFloat32 } from './precision.ts'

export const COMPOSITE_LOWERINGS: CompositeLowerings = {
  ConvInputGrad: convInputGradByTranspose,
  ConvWeightGrad: convWeightGradByMatMul,
  MaxPoolGrad: maxPoolGradByIndices,
  AveragePoolGrad: averagePoolGradByMatMul,
  BatchNormTrain: inFloat32(batchNormTrainByInference),
  BatchNormTrainGrad: inFloat32(batchNormTrainGradByChannel),
  LayerNormGrad: layerNormGradByStatistics,
  SoftmaxCrossEntropy: softmaxCrossEntropyByParts,
  SigmoidCrossEntropy: sigmoidCrossEntropyByParts,
  After: afterByChoice,
}
