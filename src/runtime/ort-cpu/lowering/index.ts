/** The lowering of each composite that the CPU provider executes fastest. Figures in comments: 2 cores with AVX-512, batch 16. */

import { COMPOSITE_LOWERINGS, type CompositeLowerings } from '../../../autodiff/lowering/index.ts'
import { afterForCpu } from './after.ts'
import { batchNormTrainForCpu, batchNormTrainGradForCpu } from './batch-norm.ts'
import { convInputGradForCpu } from './convolution-input-grad.ts'
import { convWeightGradForCpu } from './convolution-weight-grad.ts'
import { maxPoolGradForCpu } from './pooling.ts'

export const CPU_LOWERINGS: CompositeLowerings = {
  ...COMPOSITE_LOWERINGS,
  ConvInputGrad: convInputGradForCpu,
  ConvWeightGrad: convWeightGradForCpu,
  MaxPoolGrad: maxPoolGradForCpu,
  BatchNormTrain: batchNormTrainForCpu,
  BatchNormTrainGrad: batchNormTrainGradForCpu,
  After: afterForCpu,
}
