/** Losses of several outputs, and losses that are ONNX graphs: one step of plain SGD shows the gradient. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { TargetField } from '../../src/data/index.ts'
import { LossMeter } from '../../src/eval/loss-meter.ts'
import type { Model } from '../../src/ir/graph.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { serializeModel } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { initialState } from '../../src/train/initial-state.ts'
import type { LossGraph } from '../../src/train/loss-graph.ts'
import type { ObjectiveSpec } from '../../src/train/objective.ts'
import { prepareTraining, type HeadRequest } from '../../src/train/prepare.ts'
import { buildProgram } from '../../src/train/program.ts'
import { buildModel, floats } from '../passes/support/build.ts'
import { assertClose, relativeError } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'
import { readSafetensors } from '../support/safetensors.ts'
import { PLAIN_SGD } from '../support/training.ts'

const engine = cpuEngine()
const GRAPHS = join(import.meta.dirname, '../../fixtures/losses/graphs')

interface Step {
  readonly heads?: readonly HeadRequest[]
  readonly ownLoss?: LossGraph
  readonly loss: ObjectiveSpec
  readonly inputs: Readonly<Record<string, Tensor>>
  /** By data field; the data's only target is ''. */
  readonly targets: Readonly<Record<string, Tensor>>
}

/** Batches are given away to the engine. */
const copy = ({ dtype, dims, data }: Tensor) => new Tensor(dtype, dims, (data as Uint8Array).slice())

/** Metrics of the first step, and the gradient of each weight. */
async function stepOf(model: Model, { heads, ownLoss, loss, inputs, targets }: Step) {
  const batchSize = Object.values(inputs)[0]!.dims[0]!
  const graph = await prepareTraining(engine, model, {
    batchSize,
    ...(heads ? { heads } : {}),
    ...(ownLoss ? { ownLoss } : {}),
  })
  const options = { optimizer: PLAIN_SGD, batchNorm: 'frozen', dropout: false } as const
  const training = buildProgram(graph, { ...options, loss })
  const trainer = await engine.openTrainer(training.program)
  try {
    await trainer.writeState(await initialState(graph, training))
    const theta = async () => (await trainer.readState()).get('theta')!.view() as Float32Array
    const before = (await theta()).slice()
    const [metrics] = await trainer.steps([
      new Map([
        ...Object.entries(inputs).map(([name, tensor]) => [name, copy(tensor)] as const),
        ...training.targets.map(({ name, field }) => [name, copy(targets[field ?? '']!)] as const),
        [training.scalarInputs[0]!, Tensor.scalar('float32', 1)],
      ]),
    ])
    const after = await theta()
    const gradients = training.parameters.unpack(before.map((value, i) => value - after[i]!))
    return { graph, training, metrics: metrics!, gradients }
  } finally {
    await trainer.close()
  }
}

const X = [0.5, -1, 2, 0.25, 1.5, -0.75]
const A = [0.1, -0.2, 0.3, 0.4, 0.5, -0.6, 0.7, 0.8, -0.9]
const B = [0.3, -0.1, 0.2]

/** x [2,3] -> a = x · A [2,3] and b = x · B [2,1]. */
const twoOutputs = () =>
  buildModel({
    inputs: { x: ['n', 3] },
    weights: { A: floats([3, 3], A), B: floats([3, 1], B) },
    nodes: [
      ['MatMul', ['x', 'A'], ['a']],
      ['MatMul', ['x', 'B'], ['b']],
    ],
    outputs: ['a', 'b'],
  })

const x = floats([2, 3], X)
const product = (n: number, c: number, w: number[], width: number) =>
  [0, 1, 2].reduce((sum, k) => sum + X[n * 3 + k]! * w[k * width + c]!, 0)

/** Mean cross-entropy of rows of x · w against labels, and its gradient by w. */
function crossEntropyOf(w: number[], width: number, labels: number[]) {
  let loss = 0
  const gradient = new Array<number>(3 * width).fill(0)
  labels.forEach((label, n) => {
    const z = Array.from({ length: width }, (_, c) => product(n, c, w, width))
    const total = z.reduce((sum, value) => sum + Math.exp(value), 0)
    loss += (Math.log(total) - z[label]!) / labels.length
    z.forEach((value, c) => {
      const dz = (Math.exp(value) / total - Number(c === label)) / labels.length
      for (let k = 0; k < 3; k++) gradient[k * width + c]! += dz * X[n * 3 + k]!
    })
  })
  return { loss, gradient }
}

test('each output has its loss, its weight and its target', async () => {
  const { metrics, gradients, training } = await stepOf(twoOutputs(), {
    heads: [{ output: 'a' }, { output: 'b', attach: 'output' }],
    loss: [
      { loss: { kind: 'cross-entropy' }, weight: 1, field: 'kind' },
      { loss: { kind: 'mse' }, weight: 0.5, field: 'size' },
    ],
    inputs: { x },
    targets: { kind: Tensor.of('int64', [2], [2, 0]), size: floats([2, 1], [1, -1]) },
  })
  const first = crossEntropyOf(A, 3, [2, 0])
  const d = [1, -1].map((t, n) => product(n, 0, B, 1) - t)
  const mse = (d[0]! ** 2 + d[1]! ** 2) / 2
  const found = ['loss', 'loss/a', 'loss/b'].map(name => metrics.get(name)!)
  assertClose(found, [first.loss + 0.5 * mse, first.loss, mse], { relative: 1e-6 }, 'losses')
  assertClose(gradients.get('A')!.toNumbers(), first.gradient, { absolute: 1e-6 }, 'dA')
  const dB = [0, 1, 2].map(k => 0.5 * (d[0]! * X[k]! + d[1]! * X[3 + k]!))
  assertClose(gradients.get('B')!.toNumbers(), dB, { absolute: 1e-6 }, 'dB')
  assert.equal(
    training.targets.map(({ field, dtype, shape }) => [field, dtype, ...shape]),
    [
      ['kind', 'int64', 2],
      ['size', 'float32', 2, 1],
    ],
  )
})

test('auxiliary outputs share the target', async () => {
  const model = buildModel({
    inputs: { x: ['n', 3] },
    weights: { A: floats([3, 3], A), C: floats([3, 3], A.toReversed()) },
    nodes: [
      ['MatMul', ['x', 'A'], ['logits']],
      ['MatMul', ['x', 'C'], ['aux']],
    ],
    outputs: ['logits', 'aux'],
  })
  const term = { loss: { kind: 'cross-entropy' }, field: '0' } as const
  const { metrics, gradients, training } = await stepOf(model, {
    heads: [{ output: 'logits' }, { output: 'aux' }],
    loss: [
      { ...term, weight: 1 },
      { ...term, weight: 0.3 },
    ],
    inputs: { x },
    targets: { '0': Tensor.of('int64', [2], [1, 1]) },
  })
  assert.is(training.targets.length, 1)
  const [main, aux] = [crossEntropyOf(A, 3, [1, 1]), crossEntropyOf(A.toReversed(), 3, [1, 1])]
  assertClose([metrics.get('loss')!], [main.loss + 0.3 * aux.loss], { relative: 1e-6 }, 'loss')
  assertClose(
    gradients.get('C')!.toNumbers(),
    aux.gradient.map(value => 0.3 * value),
    { absolute: 1e-6 },
    'dC',
  )
  assert.is(metrics.get('correct'), [0, 1].filter(n => argmax(n) === 1).length)
})

const argmax = (n: number) => {
  const z = [0, 1, 2].map(c => product(n, c, A, 3))
  return z.indexOf(Math.max(...z))
}

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
    const meter = await LossMeter.open(engine, found.graph.ownLoss!.toMeasure, {})
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

test('the last axis holds the classes of tokens', async () => {
  const model = buildModel({
    inputs: { x: ['n', 2, 3] },
    weights: { A: floats([3, 3], A) },
    nodes: [['MatMul', ['x', 'A'], ['y']]],
    outputs: ['y'],
  })
  const { metrics, gradients } = await stepOf(model, {
    loss: { kind: 'cross-entropy', axis: 2 },
    inputs: { x: floats([1, 2, 3], X) },
    targets: { '': Tensor.of('int64', [1, 2], [2, 0]) },
  })
  const expected = crossEntropyOf(A, 3, [2, 0])
  assertClose([metrics.get('loss')!], [expected.loss], { relative: 1e-6 }, 'loss')
  assertClose(gradients.get('A')!.toNumbers(), expected.gradient, { absolute: 1e-6 }, 'dA')
})

test.run()
