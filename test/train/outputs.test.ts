/**
 * Sessions over data in memory: what the training program calls the loss of its first step is what evaluation finds for
 * the same weights and samples, by another way, for each kind of task, for several outputs and for a loss graph.
 */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ArrayDataset, type RowArray, type TargetArray } from '../../src/data/index.ts'
import { evaluateModel } from '../../src/eval/evaluate.ts'
import type { Model } from '../../src/ir/graph.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { openModelBytes, serializeModel } from '../../src/serde/index.ts'
import type { Shape } from '../../src/tensor/shape.ts'
import { parseLoss } from '../../src/cli/finetune-options/objective.ts'
import { DEFAULT_SETTINGS } from '../../src/browser/options.ts'
import { initialState } from '../../src/train/initial-state.ts'
import type { RunSettings } from '../../src/train/options.ts'
import { resolvePlan } from '../../src/train/plan.ts'
import { evaluationBatches, feedsFrom, openSession, stepInputs } from '../../src/train/session.ts'
import { Random } from '../../src/util/random.ts'
import { buildModel, randoms } from '../passes/support/build.ts'
import { assertClose } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'

const SAMPLES = 6
const engine = cpuEngine()

/** Values by chance, the same for the same seed. */
function values(name: string, dims: Shape, seed = 1): RowArray {
  const random = Random.of(seed)
  const size = dims.reduce((product, dim) => product * dim, SAMPLES)
  return { name, dims: [SAMPLES, ...dims], data: Float32Array.from({ length: size }, () => random.normal()) }
}

/** Classes below `classes` in turn, every fifth one `ignored`. */
function labels(name: string, dims: Shape, classes: number, ignored?: number) {
  const size = dims.reduce((product, dim) => product * dim, SAMPLES)
  const data = Int32Array.from({ length: size }, (_, i) =>
    ignored !== undefined && i % 5 === 4 ? ignored : (i * 7 + (i >> 2)) % classes,
  )
  return { name, dims: [SAMPLES, ...dims], data, integer: true, kind: 'class' as const }
}

const real = (array: RowArray) => ({ ...array, integer: false })

interface Case {
  readonly model: Model
  readonly input: RowArray
  readonly targets: ConstructorParameters<typeof ArrayDataset>[2]
  readonly settings?: Partial<RunSettings>
  readonly lossGraph?: Model
  readonly ignoreIndex?: number
  readonly layout?: 'CHW' | 'plain'
}

/** The loss of the first step on all samples, and the metrics of the model on them. */
async function bothLosses({
  model,
  input,
  targets,
  settings,
  lossGraph,
  ignoreIndex,
  layout = 'plain',
}: Case) {
  const file = await openModelBytes(await serializeModel(model), 'made.onnx')
  const dataset = new ArrayDataset('made', [input], targets, {
    layout,
    ...(ignoreIndex === undefined ? {} : { ignoreIndex }),
  })
  const graph = lossGraph ? { path: 'own.onnx', bytes: await serializeModel(lossGraph) } : null
  const data = { train: dataset, val: dataset, lossGraph: graph }
  const plan = await resolvePlan(engine, model, { path: 'made.onnx', sha256: '' }, data, {
    ...{ epochs: 1, batchSize: SAMPLES, seed: 1, augment: {}, evalEvery: '1ep', dataOptions: {} },
    schedule: {
      ...{ lr: 0.1, stepping: 'batch', base: { kind: 'constant' } },
      swa: { start: '0ba', rate: { kind: 'base' } },
    },
    settings: { ...DEFAULT_SETTINGS, ...settings, ...(lossGraph ? { loss: 'graph' as const } : {}) },
  })
  const session = await openSession(engine, file, { plan, ...data }, 1)
  try {
    await session.trainer.enter(0)
    await session.trainer.writeState(await initialState(session.graph, session.training))
    const stop = new AbortController()
    const { value } = await feedsFrom(session, 0, stop.signal).next()
    stop.abort()
    const [step] = await session.trainer.steps([new Map([...value!, ...stepInputs(session, 1, 0.1)])])
    const metrics = await evaluateModel(
      engine,
      await serializeModel(model),
      () => evaluationBatches(session, dataset)(4),
      { measured: session.measured, loss: session.graph.ownLoss?.toMeasure ?? null, threads: 1 },
    )
    return { step: step!, metrics }
  } finally {
    await session.trainer.close()
    await file.close()
  }
}

/** x · w, per position. */
const linear = (dims: Shape, from: number, to: number, seed = 3) =>
  buildModel({
    inputs: { x: ['n', ...dims, from] },
    weights: { w: randoms([from, to], seed) },
    nodes: [['MatMul', ['x', 'w'], ['y']]],
    outputs: ['y'],
  })

/** 1x1 convolution. */
const pixels = (from: number, to: number, stride = 1) =>
  buildModel({
    inputs: { x: ['n', from, 4, 5] },
    weights: { w: randoms([to, from, 1, 1]) },
    nodes: [['Conv', ['x', 'w'], ['y'], { strides: [stride, stride] }]],
    outputs: ['y'],
  })

const two = () =>
  buildModel({
    inputs: { x: ['n', 3] },
    weights: { v: randoms([3, 4]), w: randoms([3, 2], 5) },
    nodes: [
      ['MatMul', ['x', 'v'], ['kind']],
      ['MatMul', ['x', 'w'], ['box']],
    ],
    outputs: ['kind', 'box'],
  })

const CASES: Readonly<Record<string, Case & { readonly names: readonly string[] }>> = {
  classes: {
    ...{ model: linear([], 3, 4), input: values('0', [3]), targets: labels('y', [], 4) },
    names: ['top1', 'f1', 'ece'],
  },
  'yes or no': {
    ...{ model: linear([], 3, 1), input: values('0', [3]), targets: labels('y', [], 2) },
    names: ['accuracy', 'auc', 'averagePrecision'],
  },
  values: {
    ...{ model: linear([], 3, 2), input: values('0', [3]), targets: real(values('y', [2], 9)) },
    names: ['mae', 'rmse', 'r2'],
  },
  'pixels, some without a class': {
    ...{ model: pixels(3, 4), input: values('0', [3, 4, 5]), targets: labels('y', [4, 5], 4, 255) },
    ...{ ignoreIndex: 255, settings: { ignoreIndex: 255 } },
    names: ['meanIou', 'accuracy'],
  },
  'pixels at half the size of the masks': {
    ...{ model: pixels(3, 4, 2), input: values('0', [3, 4, 5]), targets: labels('y', [4, 5], 4, -100) },
    layout: 'CHW',
    names: ['meanIou', 'accuracy'],
  },
  'yes or no at half the size of the masks': {
    ...{ model: pixels(3, 1, 2), input: values('0', [3, 4, 5]), targets: labels('y', [4, 5], 2) },
    layout: 'CHW',
    names: ['meanIou', 'accuracy'],
  },
  'tokens, some without a class': {
    ...{ model: linear([7], 3, 4), input: values('0', [7, 3]), targets: labels('y', [7], 4, -100) },
    names: ['accuracy', 'f1'],
  },
  'next tokens': {
    ...{ model: linear([7], 3, 4), input: values('0', [7, 3]), targets: labels('y', [7], 4, -100) },
    settings: { loss: 'causal-lm' },
    names: ['perplexity', 'accuracy'],
  },
  'two outputs': {
    ...{ model: two(), input: values('0', [3]) },
    targets: [labels('kind', [], 4), real(values('size', [2], 9))],
    settings: { loss: ['kind=cross-entropy', 'box=mse@size*0.5'].map(parseLoss) },
    names: ['top1', 'kind.loss', 'box.loss', 'box.mae'],
  },
  'a loss graph': {
    ...{ model: two(), input: values('0', [3]) },
    targets: [labels('kind', [], 4), real(values('size', [2], 9))],
    lossGraph: buildModel({
      inputs: { box: ['n', 2], size: ['n', 2] },
      nodes: [
        ['Sub', ['box', 'size'], ['d']],
        ['Abs', ['d'], ['a']],
        ['ReduceMean', ['a'], ['loss'], { keepdims: 0 }],
        ['ReduceSum', ['a'], ['sum'], { keepdims: 0 }],
      ],
      outputs: ['sum', 'loss'],
    }),
    names: ['sum'],
  },
}

for (const [what, { names, ...made }] of Object.entries(CASES)) {
  test(`${what}: training and evaluation find the same loss`, async () => {
    const { step, metrics } = await bothLosses(made)
    assertClose([metrics.loss], [step.get('loss')!], { relative: 1e-5 }, what)
    assert.is(metrics.samples, SAMPLES)
    for (const name of names) assert.ok(Number.isFinite(metrics[name]), `${name}: ${metrics[name]}`)
  })
}

test('targets go with outputs in the order or by the names that were given', async () => {
  const { names: _, settings: __, ...made } = CASES['two outputs']!
  const plain = ['kind=cross-entropy', 'box=mse']
  const losses = async (outputs: readonly (string | number)[], loss: readonly string[]) => {
    const given = [made.targets as TargetArray[]]
      .flat()
      .map((target, i) => ({ ...target, output: outputs[i]! }))
    const { step } = await bothLosses({ ...made, targets: given, settings: { loss: loss.map(parseLoss) } })
    return [step.get('loss')!, step.get('loss/kind')!, step.get('loss/box')!]
  }
  const refusal = async (outputs: readonly (string | number)[]) =>
    (await errorOf(losses(outputs, plain))).message
  const asked = await refusal(['5', '5'])
  assert.match(asked, /^data: target "kind" is for the output "5", the model has "kind", "box"$/)
  const { step } = await bothLosses({
    ...made,
    settings: { loss: ['kind=cross-entropy', 'box=mse@size'].map(parseLoss) },
  })
  const expected = [step.get('loss')!, step.get('loss/kind')!, step.get('loss/box')!]
  assert.equal(await losses([0, 1], plain), expected)
  assert.equal(await losses(['kind', 'box'], plain), expected)
  const three = await refusal([0, 2])
  assert.match(
    three,
    /^data: made has 2 targets \("kind", "size"\), the model has 2 outputs \("kind", "box"\)$/,
  )
})

test('two outputs without a --loss for each are refused', async () => {
  const { names: _, settings: __, ...made } = CASES['two outputs']!
  const error = await errorOf(bothLosses(made))
  assert.match(error.message, /^model: expected one output to attach the loss to, found 2: "kind", "box"$/)
})

test.run()
