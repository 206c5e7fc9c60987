/** What ONNX Runtime's CPU execution provider computes: its kernel table (version 1.30), read in its sources. */

import type { Capabilities } from '../engine.ts'

const KERNELS = `Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool
BatchNormalization BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor BlackmanWindow Cast Ceil Celu Clip Col2Im
Compress Concat ConcatFromSequence ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumProd CumSum DFT DeformConv
DepthToSpace DequantizeLinear Det Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor
GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual
GridSample HammingWindow HannWindow HardSigmoid Hardmax Identity If InstanceNormalization IsInf IsNaN LRN LSTM
LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization LpPool MatMul MatMulInteger Max MaxPool
MaxRoiPool MaxUnpool Mean MeanVarianceNormalization MelWeightMatrix Min Mod Mul Multinomial Neg NonMaxSuppression NonZero
Not OneHot Optional OptionalGetElement OptionalHasElement Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear
RMSNormalization RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare RegexFullMatch Relu
Reshape Resize ReverseSequence RoiAlign RotaryEmbedding Round STFT Scan Scatter ScatterElements ScatterND Selu SequenceAt
SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength Shape Shrink Sigmoid Sign SimplifiedLayerNormalization Sin Sinh
Size Slice Softmax Softplus Softsign SpaceToDepth Split SplitToSequence Sqrt Squeeze StringConcat StringNormalizer StringSplit Sub
Sum Tan Tanh TensorScatter TfIdfVectorizer ThresholdedRelu Tile TopK Transpose Trilu Unique Unsqueeze Upsample Where Xor`

/** Function operators: ONNX Runtime puts their definition in their place. */
const FUNCTIONS = `Bernoulli GroupNormalization HardSwish Mish NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss`

/** The names in a text of operators. */
export function operatorNames(text: string): string[] {
  return text.split(/\s+/).filter(name => name !== '')
}

export const CPU_CAPABILITIES: Capabilities = {
  operators: new Set([...operatorNames(KERNELS), ...operatorNames(FUNCTIONS), 'Constant']),
  dtypes: new Set(['float32', 'float64', 'int32', 'int64', 'uint8', 'int8', 'bool']),
  state: 'process',
}
