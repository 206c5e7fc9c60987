/** The composites as CUDA gets them, run on the CPU provider, against PyTorch's gradients. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { convWeightGrad } from '../../../src/autodiff/composites.ts'
import { convWeightGradByMatMul } from '../../../src/autodiff/lowering/convolution.ts'
import { Builder } from '../../../src/ir/builder.ts'
import { Graph, Model } from '../../../src/ir/graph.ts'
import { Value } from '../../../src/ir/value.ts'
import { convWeightGradByGemm } from '../../../src/runtime/ort-cuda/lowering/conv-weight-grad.ts'
import { CUDA_LOWERINGS } from '../../../src/runtime/ort-cuda/lowering/index.ts'
import { COMPOSITE_LOWERINGS, lowerComposites } from '../../../src/autodiff/lowering/index.ts'
import { sizeOf } from '../../../src/tensor/shape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { relativeError } from '../../support/close.ts'
import { checkOpCase, opCases } from '../../support/op-fixture.ts'
import { runModel } from '../../support/ort.ts'

/** Operators whose gradients come from composites that CUDA lowers in a way of its own. */
const REPLACED = /^(MaxPool|Conv|BatchNormalization)$/

for (const fixture of opCases().filter(({ op }) => REPLACED.test(op))) {
  test(fixture.name, () => checkOpCase(fixture, { lowerings: CUDA_LOWERINGS }))
}

// Fixtures are small, where the other form is mostly chosen.
for (const fixture of opCases().filter(({ op }) => op === 'Conv')) {
  const lowerings = { ...CUDA_LOWERINGS, ConvWeightGrad: convWeightGradByGemm }
  test(`${fixture.name}, its weight gradient as one product`, () => checkOpCase(fixture, { lowerings }))
}

test('windows side by side: a transposition instead of slices, and the same gradient', async () => {
  const op = new Builder([])
  const [x, dy] = [Value.typed('x', 'float32', [2, 3, 8, 4]), Value.typed('dy', 'float32', [2, 5, 2, 2])]
  const axis = { begin: 0, end: 0, dilation: 1, output: 2 }
  const window = [
    { ...axis, kernel: 4, stride: 4, input: 8 },
    { ...axis, kernel: 2, stride: 2, input: 4 },
  ]
  const graph = new Graph('patches')
  graph.inputs = [x, dy]
  graph.outputs = [convWeightGrad(op, x, dy, window, 1)]
  graph.nodes = op.nodes
  graph.initializers = op.initializers
  const numbers = ({ shape }: Value) =>
    Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin(i + shape[1]!))
  const feeds = Object.fromEntries(
    [x, dy].map(value => [value.name, Tensor.of('float32', value.shape, numbers(value))]),
  )
  const [found, wanted] = await Promise.all(
    [convWeightGradByGemm, convWeightGradByMatMul].map(async ConvWeightGrad => {
      const lowered = lowerComposites(graph, { ...CUDA_LOWERINGS, ConvWeightGrad })
      const slices = lowered.nodes.filter(({ opType }) => opType === 'Slice').length
      const outputs = await runModel(new Model(lowered, 8, new Map([['', 17]])), feeds)
      return { slices, dw: Object.values(outputs)[0]!.view() as Float32Array }
    }),
  )
  assert.is(found!.slices, 0)
  assert.is(wanted!.slices, 8)
  assert.ok(relativeError(found!.dw, wanted!.dw) < 1e-6)
})

test('all other composites have the default lowering, which has its own tests', () => {
  const own = Object.entries(CUDA_LOWERINGS).filter(
    ([name, lowering]) => COMPOSITE_LOWERINGS[name as keyof typeof COMPOSITE_LOWERINGS] !== lowering,
  )
  assert.equal(
    own.map(([name]) => name),
    ['ConvWeightGrad', 'MaxPoolGrad', 'BatchNormTrain', 'BatchNormTrainGrad'],
  )
})

test.run()
