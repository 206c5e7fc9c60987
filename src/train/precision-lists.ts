/**
 * What computes in half precision: PyTorch's autocast lists (torch/csrc/autocast_mode), for the operators of a training
 * program, those of the backward pass included. What is on no list computes in float32: softmax, losses, exponentials,
 * logarithms and powers, sums, the statistics of norms, and the optimizer.
 */

import { compositeKey } from '../autodiff/composites.ts'

/**
 * `half`: in float16 whatever comes in. `follow`: in float16 where nothing that comes in is wider. `inputs` and `outputs`
 * say which of them; default: all that are floating-point. The others are float32.
 */
export interface HalfRow {
  readonly kind: 'half' | 'follow'
  readonly inputs?: readonly number[]
  readonly outputs?: readonly number[]
}

const HALF: HalfRow = { kind: 'half' }
const FOLLOW: HalfRow = { kind: 'follow' }

function rows(names: string, row: HalfRow): Record<string, HalfRow> {
  return Object.fromEntries(names.split(/\s+/).map(name => [name, row]))
}

/** Operator key (`Conv`, `swa.composite.MaxPoolGrad`) -> how it takes part. */
export const HALF_ROWS: Readonly<Record<string, HalfRow>> = {
  // Tensor cores.
  ...rows('Conv ConvTranspose MatMul Gemm Einsum', HALF),
  [compositeKey('ConvInputGrad')]: HALF,
  // A gradient that is summed over batch and positions: the sum is float32.
  [compositeKey('ConvWeightGrad')]: { kind: 'half', outputs: [] },
  // Element-wise, between them.
  ...rows('Add Sub Mul Div Max Min Sum Neg Abs Sign Where Clip', FOLLOW),
  ...rows('Greater GreaterOrEqual Less LessOrEqual Equal', FOLLOW),
  ...rows('Relu LeakyRelu HardSigmoid HardSwish Sigmoid Tanh Erf Gelu', FOLLOW),
  // Moved, not computed.
  ...rows('Identity Reshape Flatten Squeeze Unsqueeze Transpose Expand Concat Split Slice Pad Tile', FOLLOW),
  ...rows('Gather DepthToSpace SpaceToDepth', FOLLOW),
  [compositeKey('After')]: { kind: 'follow', inputs: [0] },
  // Pooling.
  ...rows('MaxPool AveragePool GlobalAveragePool GlobalMaxPool', FOLLOW),
  [compositeKey('MaxPoolGrad')]: FOLLOW,
  [compositeKey('AveragePoolGrad')]: FOLLOW,
  // x and its gradient are of half precision; scale, bias and statistics are not.
  [compositeKey('BatchNormTrain')]: { kind: 'follow', inputs: [0], outputs: [0] },
  [compositeKey('BatchNormTrainGrad')]: { kind: 'follow', inputs: [0, 1], outputs: [0] },
}
