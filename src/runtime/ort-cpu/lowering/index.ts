/** The lowering of each composite that the CPU provider executes fastest. Figures in comments: 2 cores with AVX-512, batch 16. */

import { COMPOSITE_LOWERINGS, inFloat32, type CompositeLowerings } from '../../../autodiff/lowering/index.ts'
import { afterForCpu } from './after.ts'
import { batchNormTrainForCpu, batchNormTrainGradForCpu } from './batch-norm.ts'
import { convInputGradForCpu } from './convolution-input-grad.ts'
import { convWeightGradForCpu } from './convolution-weight-grad.ts'
import { maxPoolGradForCpu } from './pooling.ts'

export const CPU_LOWERINGS: CompositeLowerings = {
  ...COMPOSITE_LOWERINGS,
  ConvInputGrad: inFloat32(convInputGradForCpu),
  ConvWeightGrad: inFloat32(convWeightGradForCpu),
  AveragePoolGrad: inFloat32(COMPOSITE_LOWERINGS.AveragePoolGrad),
  MaxPoolGrad: maxPoolGradForCpu,
  BatchNormTrain: inFloat32(batchNormTrainForCpu),
  BatchNormTrainGrad: inFloat32(batchNormTrainGradForCpu),
  After: afterForCpu,
}
