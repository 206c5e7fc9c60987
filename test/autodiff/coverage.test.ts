/** Which operators have a gradient, beside those that onnxruntime's training build has one for. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { NON_DIFFERENTIABLE, RULES } from '../../src/autodiff/index.ts'

/** The standard operators with a registered gradient (onnxruntime: gradient_builder_registry.cc). */
const REGISTERED =
  `Abs Add Atan AveragePool Cast Clip Concat Conv ConvTranspose Cos Div Dropout Erf Exp Expand Flatten
Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Identity LayerNormalization LeakyRelu Log
LogSoftmax MatMul Max MaxPool Min Mul Neg Pad Pow Reciprocal ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceSum Relu
Reshape Resize ScatterElements ScatterND Sigmoid Sin Slice Softmax SoftmaxCrossEntropyLoss Split Sqrt Squeeze Sub Tanh Tile
TopK Transpose Trilu Unsqueeze Where`.split(/\s+/)

test('every standard operator with a gradient in onnxruntime has a rule', () => {
  assert.equal(
    REGISTERED.filter(name => !(name in RULES)),
    [],
  )
})

test('no operator has a rule and is called non-differentiable', () => {
  assert.equal(
    [...NON_DIFFERENTIABLE].filter(name => name in RULES),
    [],
  )
})

test.run()
