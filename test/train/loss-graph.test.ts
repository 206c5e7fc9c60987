/** Losses that are ONNX graphs: the same as ours, as PyTorch's, or refused with a reason. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { TargetField } from '../../src/data/index.ts'
import { LossMeter } from '../../src/eval/loss-meter.ts'
import type { Model } from '../../src/ir/graph.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { serializeModel } from '../../src/serde/index.ts'
import type { LossGraph } from '../../src/train/loss-graph.ts'
import { buildModel, floats } from '../passes/support/build.ts'
import { assertClose, relativeError } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { A, B, product, stepOf, twoOutputs, x, X } from '../support/first-step.ts'
import { readSafetensors } from '../support/safetensors.ts'

const GRAPHS = join(import.meta.dirname, '../../fixtures/losses/graphs')

const field = (name: string, kind: TargetField['kind'], dims: number[]): TargetField => ({
  ...{ name, kind, dims },
  classes: kind === 'values' ? null : ['a', 'b', 'c'],
})

const lossGraph = async (
  model: Model,
  targets: TargetField[],
  more: Partial<LossGraph> = {},
): Promise<LossGraph> => ({
  ...{ path: 'own.onnx', bytes: await serializeModel(model), targets, classWeights: null },
  ...more,
})

/** Mean of (b − size)², and the largest |b − size|. */
const meanSquare = () =>
  buildModel({
    inputs: { b: ['n', 1], size: ['n', 1] },
    nodes: [
      ['Sub', ['b', 'size'], ['d']],
      ['Mul', ['d', 'd'], ['square']],
      ['ReduceMean', ['square'], ['loss'], { keepdims: 0 }],
      ['Abs', ['d'], ['distance']],
      ['ReduceMax', ['distance'], ['worst'], { keepdims: 0 }],
    ],
    outputs: ['loss', 'worst'],
  })

test('an ONNX mean square is our mse, and its other outputs are metrics', async () => {
  const targets = { size: floats([2, 1], [1, -1]) }
  const own = await stepOf(twoOutputs(), {
    ownLoss: await lossGraph(meanSquare(), [field('size', 'values', [1])]),
    ...{ loss: null, inputs: { x }, targets },
  })
  const ours = await stepOf(twoOutputs(), {
    heads: [{ output: 'b', attach: 'output' }],
    loss: [{ loss: { kind: 'mse' }, weight: 1, field: 'size' }],
    ...{ inputs: { x }, targets },
  })
  assertClose([own.metrics.get('loss')!], [ours.metrics.get('loss')!], { relative: 1e-6 }, 'loss')
  const worst = Math.max(...[1, -1].map((t, n) => Math.abs(product(n, 0, B, 1) - t)))
  assertClose([own.metrics.get('worst')!], [worst], { relative: 1e-6 }, 'worst')
  assert.equal([...own.gradients.keys()], ['B'], 'what the loss does not read is not trained')
  assertClose(
    own.gradients.get('B')!.toNumbers(),
    ours.gradients.get('B')!.toNumbers(),
    { absolute: 1e-7 },
    'dB',
  )
})

for (const [name, other] of [
  ['pairs', 'pull'],
  ['triplet', 'wrong'],
] as const) {
  test(`a loss that PyTorch exported, ${name}: loss, metric and gradient are PyTorch's`, async () => {
    const tensors = readSafetensors(join(GRAPHS, `${name}.safetensors`))
    const [rows, label] = [tensors.get('x')!, tensors.get('label')!]
    const model = buildModel({
      inputs: { x: ['n', 5] },
      weights: { w: tensors.get('w')! },
      nodes: [['MatMul', ['x', 'w'], ['embedding']]],
      outputs: ['embedding'],
    })
    const ownLoss: LossGraph = {
      ...{ path: name, bytes: readFileSync(join(GRAPHS, `${name}.onnx`)), classWeights: null },
      targets: [field('label', 'class', [])],
    }
    const found = await stepOf(model, { ownLoss, loss: null, inputs: { x: rows }, targets: { label } })
    const expected = [tensors.get('loss')!, tensors.get('other')!].map(tensor => tensor.toNumbers()[0]!)
    assertClose(
      [found.metrics.get('loss')!, found.metrics.get(other)!],
      expected,
      { relative: 1e-5, absolute: 1e-6 },
      name,
    )
    const error = relativeError(found.gradients.get('w')!.toNumbers(), tensors.get('dw')!.toNumbers())
    assert.ok(error < 1e-4, `relative error of dw is ${error}`)

    // The same graph measures: the mean over batches, weighed by their samples.
    const meter = await LossMeter.open(cpuEngine(), found.graph.ownLoss!.toMeasure, {})
    const [x, w] = [rows.toNumbers(), tensors.get('w')!.toNumbers()]
    const embedding = Array.from({ length: 18 }, (_, i) =>
      [0, 1, 2, 3, 4].reduce((sum, k) => sum + x[Math.floor(i / 3) * 5 + k]! * w[k * 3 + (i % 3)]!, 0),
    )
    const batch = { inputs: new Map(), targets: new Map([['label', label]]), size: 6 }
    const place = { index: 0, epoch: 0, sampleIndices: new Uint32Array(6) }
    await meter.add(new Map([['embedding', floats([6, 3], embedding)]]), { ...batch, ...place })
    const metrics = meter.result()
    await meter.close()
    assert.is(metrics.samples, 6)
    assertClose([metrics.loss, metrics[other]!], expected, { relative: 1e-5, absolute: 1e-6 }, 'measured')
  })
}

test('logits are what a Softmax is applied to, and class weights come along', async () => {
  const model = buildModel({
    inputs: { x: ['n', 3] },
    weights: { A: floats([3, 3], A) },
    nodes: [
      ['MatMul', ['x', 'A'], ['z']],
      ['Softmax', ['z'], ['y'], { axis: -1 }],
    ],
    outputs: ['y'],
  })
  // Mean over rows of Σ weight · z²: its gradient shows what was read.
  const loss = buildModel({
    inputs: { logits: ['n', 3], class_weights: [3] },
    nodes: [
      ['Mul', ['logits', 'logits'], ['square']],
      ['Mul', ['square', 'class_weights'], ['weighted']],
      ['ReduceMean', ['weighted'], ['loss'], { keepdims: 0 }],
    ],
    outputs: ['loss'],
  })
  const weights = [1, 2, 4]
  const ownLoss = await lossGraph(loss, [field('0', 'class', [])], { classWeights: weights })
  const { gradients, metrics } = await stepOf(model, { ownLoss, loss: null, inputs: { x }, targets: {} })
  const z = [0, 1].map(n => weights.map((_, c) => product(n, c, A, 3)))
  const value = z.flat().reduce((sum, v, i) => sum + (weights[i % 3]! * v * v) / 6, 0)
  assertClose([metrics.get('loss')!], [value], { relative: 1e-6 }, 'loss')
  const dA = A.map((_, i) => {
    const [k, c] = [Math.floor(i / 3), i % 3]
    return [0, 1].reduce((sum, n) => sum + (X[n * 3 + k]! * 2 * weights[c]! * z[n]![c]!) / 6, 0)
  })
  assertClose(gradients.get('A')!.toNumbers(), dA, { absolute: 1e-6 }, 'dA')
})

/** Loss graphs that are refused: what is said, and the cure. */
const REFUSED: readonly (readonly [what: string, Parameters<typeof buildModel>[0], message: RegExp])[] = [
  [
    'no loss',
    { inputs: { b: ['n', 1] }, nodes: [['ReduceMean', ['b'], ['mean'], { keepdims: 0 }]], outputs: ['mean'] },
    /^loss own\.onnx: expected an output "loss", found mean$/,
  ],
  [
    'a stranger among the inputs',
    { inputs: { c: ['n', 1] }, nodes: [['ReduceMean', ['c'], ['loss'], { keepdims: 0 }]], outputs: ['loss'] },
    /^loss own\.onnx: input "c" is neither an output of the model \("a", "b"\) nor a target of the data \("size"\)$/,
  ],
  [
    'another shape',
    { inputs: { b: ['n', 2] }, nodes: [['ReduceMean', ['b'], ['loss'], { keepdims: 0 }]], outputs: ['loss'] },
    /^loss own\.onnx: input "b" takes float32\[n,2\], the model gives float32\[2,1\]$/,
  ],
  [
    'another dtype',
    {
      inputs: { b: ['n', 1], size: [{ dtype: 'int64' }, 'n', 1] },
      nodes: [
        ['Cast', ['size'], ['t'], { to: 1 }],
        ['Sub', ['b', 't'], ['d']],
        ['ReduceMean', ['d'], ['loss'], { keepdims: 0 }],
      ],
      outputs: ['loss'],
    },
    /^loss own\.onnx: input "size" takes int64\[n,1\], the data give float32\[2,1\]$/,
  ],
  [
    'nothing of the model',
    {
      inputs: { size: ['n', 1] },
      nodes: [['ReduceMean', ['size'], ['loss'], { keepdims: 0 }]],
      outputs: ['loss'],
    },
    /^loss own\.onnx: it reads no output of the model$/,
  ],
  [
    'no gradient on the way',
    {
      inputs: { b: ['n', 1] },
      nodes: [
        ['Floor', ['b'], ['f']],
        ['ReduceMean', ['f'], ['loss'], { keepdims: 0 }],
      ],
      outputs: ['loss'],
    },
    /^loss own\.onnx: "loss" does not depend on what it reads of the model in a way that has a gradient$/,
  ],
  [
    'an operator without a rule',
    {
      inputs: { b: ['n', 1] },
      nodes: [
        ['MatMul', ['b', 'b'], ['m']],
        ['Det', ['m'], ['loss']],
      ],
      outputs: ['loss'],
    },
    /^loss own\.onnx: gradient: no rule for Det "loss\/Det_1" /,
  ],
  [
    'a loss that is no scalar',
    { inputs: { b: ['n', 1] }, nodes: [['Mul', ['b', 'b'], ['loss']]], outputs: ['loss'] },
    /^loss own\.onnx: output "loss" should be a scalar of float32, found float32\[2,1\]$/,
  ],
  [
    'a newer opset',
    {
      inputs: { b: ['n', 1] },
      nodes: [['ReduceMean', ['b'], ['loss'], { keepdims: 0 }]],
      outputs: ['loss'],
      opset: 21,
      irVersion: 10,
    },
    /^loss own\.onnx: expected an opset up to 18, which the model is trained in, found 21$/,
  ],
  [
    'class weights that nobody gave',
    {
      inputs: { b: ['n', 1], class_weights: [1] },
      nodes: [
        ['Mul', ['b', 'class_weights'], ['w']],
        ['ReduceMean', ['w'], ['loss'], { keepdims: 0 }],
      ],
      outputs: ['loss'],
    },
    /^loss own\.onnx: input "class_weights" needs --class-weights$/,
  ],
]

for (const [what, parts, message] of REFUSED) {
  test(`a loss graph is refused: ${what}`, async () => {
    const ownLoss = await lossGraph(buildModel(parts), [field('size', 'values', [1])])
    const targets = { size: floats([2, 1], [1, -1]) }
    const error = await errorOf(stepOf(twoOutputs(), { ownLoss, loss: null, inputs: { x }, targets }))
    assert.match(error.message, message)
    assert.is(error.exitCode, 3)
  })
}

test.run()
