/**
 * What ONNX Runtime's native WebGPU execution provider computes: its kernel table (version 1.30), read in its sources.
 * The same provider is in onnxruntime-node and in the `webgpu` bundle of onnxruntime-web.
 */

import type { Capabilities } from '../engine.ts'
import { operatorNames } from '../ort-cpu/capabilities.ts'

const KERNELS = `Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Clip
Concat Conv ConvTranspose Cos Cosh CumSum DFT DepthToSpace DequantizeLinear Div Einsum Elu Equal Erf Exp Expand Flatten
Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample
HardSigmoid HardSwish Identity If InstanceNormalization LSTM LayerNormalization LeakyRelu Less LessOrEqual Log
LpNormalization MatMul Max MaxPool Min Mul Neg Not PRelu Pad Pow RMSNormalization Range Reciprocal ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize
RotaryEmbedding ScatterElements ScatterND Shape Sigmoid Sin Sinh Slice Softmax Softplus Split Sqrt Squeeze Sub Tan Tanh
ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where`

/** Function operators: ONNX Runtime puts their definition in their place. */
const FUNCTIONS = `Bernoulli Mish NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss`

/**
 * Element types of data on the device. int64 may index (Gather, ScatterElements) and give shapes and axes; arithmetic on
 * it runs on the CPU.
 */
export const WEBGPU_CAPABILITIES: Capabilities = {
  operators: new Set([...operatorNames(KERNELS), ...operatorNames(FUNCTIONS), 'Constant']),
  dtypes: new Set(['float32', 'float16', 'int32', 'uint32', 'bool']),
  state: 'device',
}
