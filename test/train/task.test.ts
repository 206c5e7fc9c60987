/** Which losses are chosen for outputs and targets, and what their classes weigh. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Dataset, Target, TargetField } from '../../src/data/index.ts'
import { parseLoss } from '../../src/cli/finetune-options/objective.ts'
import { Value, type Dim } from '../../src/ir/value.ts'
import type { Activation } from '../../src/passes/index.ts'
import { resolveClassWeights, resolvePosWeight } from '../../src/train/class-weights.ts'
import type { Head } from '../../src/train/prepare.ts'
import { chooseLosses, lossRequests, mixedLosses, type LossSettings } from '../../src/train/task.ts'
import { errorOf } from '../support/errors.ts'

const SETTINGS: LossSettings = { loss: 'auto', labelSmoothing: 0, ignoreIndex: -100 }

const target = (
  name: string,
  kind: TargetField['kind'],
  dims: number[],
  classes?: string[],
): TargetField => ({
  ...{ name, kind, dims },
  classes: kind === 'values' ? null : (classes ?? ['a', 'b', 'c']),
})

/** A data set of nothing but targets. */
function dataset(targets: readonly TargetField[], rows: readonly (readonly Target[])[] = []): Dataset {
  const made = {
    name: 'made',
    targets,
    length: rows.length,
    target: (index: number, t = 0) => rows[index]![t]!,
    sampleName: (index: number) => `row ${index}`,
  }
  return made as unknown as Dataset
}

function head(
  output: string,
  shape: readonly number[],
  activation: Activation = 'none',
  outputShape?: Dim[],
): Head {
  const logits = Value.typed(output, 'float32', shape)
  return {
    output,
    outputShape: outputShape ?? ['n', ...shape.slice(1)],
    logits,
    activation,
    activationAxis: null,
  }
}

/** The loss kind, its axis where it has one, and the task of what is measured. */
function chosen(heads: Head[], targets: TargetField[], settings: Partial<LossSettings> = {}): string[] {
  const outputs = heads.map(({ output }) => output)
  const { terms, measured } = chooseLosses({ ...SETTINGS, ...settings }, heads, outputs, dataset(targets))
  return terms.map(({ loss, weight, field }, i) => {
    const axis = 'axis' in loss ? ` over ${loss.axis}` : ''
    return `${loss.kind}${axis} @${field!} *${weight}: ${measured[i]!.task}`
  })
}

const CASES: readonly (readonly [what: string, Head, TargetField, expected: string])[] = [
  ['classes', head('y', [2, 3]), target('0', 'class', []), 'cross-entropy over 1 @0 *1: classification'],
  [
    'one logit',
    head('y', [2, 1]),
    target('0', 'class', [], ['no', 'yes']),
    'binary-cross-entropy @0 *1: multilabel',
  ],
  [
    'many of many',
    head('y', [2, 3]),
    target('0', 'multilabel', [3]),
    'binary-cross-entropy @0 *1: multilabel',
  ],
  ['values', head('y', [2, 3]), target('0', 'values', [3]), 'mse @0 *1: regression'],
  [
    'pixels',
    head('y', [2, 3, 4, 5]),
    target('0', 'class', [4, 5]),
    'cross-entropy over 1 @0 *1: segmentation',
  ],
  [
    'pixels last',
    head('y', [2, 4, 5, 3]),
    target('0', 'class', [4, 5]),
    'cross-entropy over 3 @0 *1: segmentation',
  ],
  [
    'tokens',
    head('y', [2, 7, 3]),
    target('0', 'class', [7]),
    'cross-entropy over 2 @0 *1: token-classification',
  ],
  [
    'a distribution',
    head('y', [2, 3], 'softmax'),
    target('0', 'values', [3]),
    'cross-entropy over 1 @0 *1: regression',
  ],
]

for (const [what, one, field, expected] of CASES) {
  test(`auto, ${what}: ${expected}`, () => assert.equal(chosen([one], [field]), [expected]))
}

test('a loss for each output, with target and weight; the same target for an auxiliary output', () => {
  const loss = ['logits=cross-entropy', 'aux=focal:1.5@label*0.3', 'box=huber:0.5*2'].map(parseLoss)
  const heads = [head('logits', [2, 3]), head('aux', [2, 3]), head('box', [2, 4])]
  const targets = [target('logits', 'class', []), target('label', 'class', []), target('box', 'values', [4])]
  assert.equal(chosen(heads, targets, { loss }), [
    'cross-entropy over 1 @logits *1: classification',
    'focal over 1 @label *0.3: classification',
    'huber @box *2: regression',
  ])
  const shared = [target('label', 'class', [])]
  assert.equal(
    chosen(heads.slice(0, 2), shared, { loss: ['logits=cross-entropy', 'aux=auto*0.4'].map(parseLoss) }),
    ['cross-entropy over 1 @label *1: classification', 'cross-entropy over 1 @label *0.4: classification'],
  )
})

test('causal-lm takes labels of the logits without the vocabulary', () => {
  assert.equal(
    chosen([head('logits', [2, 5, 50])], [target('labels', 'class', [5])], { loss: 'causal-lm' }),
    ['causal-lm over 2 @labels *1: language-model'],
  )
})

test('masks of another size are refused, whatever loss is asked for', async () => {
  const error = await errorOf(() =>
    chosen([head('y', [2, 3, 8, 8])], [target('0', 'values', [16, 16])], { loss: 'cross-entropy' }),
  )
  assert.match(
    error.message,
    /has a class for each of 16x16 positions, the model output "y" \[2,3,8,8\] has others/,
  )
})

test('losses as they are written', async () => {
  assert.equal(parseLoss('cross-entropy'), { kind: 'cross-entropy' })
  assert.equal(parseLoss('Identity:0=mse'), { kind: 'mse', output: 'Identity:0' })
  assert.equal(parseLoss('a=b=l1@t*2'), { kind: 'l1', output: 'a=b', target: 't', weight: 2 })
  for (const text of ['entropy', 'y=', 'mse*', '=mse'])
    assert.match((await errorOf(() => parseLoss(text))).message, /^--loss: expected a loss/)
  assert.match((await errorOf(() => parseLoss('huber:x'))).message, /expected numbers separated by commas/)
})

test('requests that contradict each other', async () => {
  const both = { ...SETTINGS, loss: ['cross-entropy', 'mse'].map(parseLoss) }
  assert.match(
    (await errorOf(() => lossRequests(both))).message,
    /each of several losses goes with an output of its own/,
  )
  const twice = { ...SETTINGS, loss: ['y=cross-entropy', 'y=mse'].map(parseLoss) }
  assert.match((await errorOf(() => lossRequests(twice))).cure!, /ONNX loss graph/)
  const number = await errorOf(() =>
    chosen([head('y', [2, 3])], [target('0', 'class', [])], { loss: [parseLoss('cross-entropy:2')] }),
  )
  assert.is(number.message, '--loss: cross-entropy takes no number, found cross-entropy:2')
})

test('balanced class weights: n / (classes that occur · n of the class)', () => {
  const field = target('0', 'class', [])
  const data = dataset([field], [[0], [0], [0], [1]])
  // sklearn.utils.class_weight.compute_class_weight('balanced', classes=[0, 1], y=[0, 0, 0, 1])
  assert.equal(resolveClassWeights('balanced', 3, data, field, -100), [2 / 3, 2, 1])
  const pixels = target('0', 'class', [2])
  const masks = dataset([pixels], [[Int32Array.of(0, 255)], [Int32Array.of(1, 1)]])
  assert.equal(resolveClassWeights('balanced', 2, masks, pixels, 255), [1.5, 0.75])
})

test('class weights by name, and lists of another length', async () => {
  const field = target('0', 'class', [])
  const data = dataset([field])
  assert.equal(resolveClassWeights({ b: 3 }, 3, data, field, -100), [1, 3, 1])
  const stranger = await errorOf(() => resolveClassWeights({ z: 3 }, 3, data, field, -100))
  assert.is(stranger.message, '--class-weights: target "0" has no class "z", found a, b, c')
  const short = await errorOf(() => resolveClassWeights([1, 2], 3, data, field, -100))
  assert.is(short.message, '--class-weights: expected 3 numbers, one for each class, found 2')
})

test('masks in files: their pixels are counted as the data count them', () => {
  const counts = [Uint32Array.of(3), Uint32Array.of(1, 4)]
  const field = { ...target('0', 'class', [0, 0]), mask: { field: '0', ignored: -100 } }
  const data = { ...dataset([field]), length: 2, maskCounts: (i: number) => counts[i] }
  // As scikit-learn for four pixels of each of two classes; a third one never occurs.
  assert.equal(resolveClassWeights('balanced', 3, data, field, -100), [1, 1, 1])
  assert.equal(resolvePosWeight('balanced', 1, data, field), [1])
})

test('mixed batches: labels become probabilities, masks stay labels and are not blended', async () => {
  const mix = { mixup: 0, cutmix: 1, probability: 1, switchProbability: 0 }
  const mask = { ...target('pixels', 'class', [4, 4]), mask: { field: '0', ignored: -100 } }
  const targets = [target('kind', 'class', []), mask]
  const terms = ['kind', 'pixels'].map(field => ({
    ...{ field, weight: 1 },
    loss: { kind: 'cross-entropy', targets: 'labels', ignoreIndex: 255 } as const,
  }))
  const mixed = mixedLosses(mix, terms, { targets })
  assert.equal(mixed[0]!.loss, { kind: 'cross-entropy', targets: 'probabilities' })
  assert.equal(mixed[1], terms[1])
  const error = await errorOf(() => mixedLosses({ ...mix, mixup: 1 }, terms, { targets }))
  assert.is(error.message, '--mixup: masks hold one class for each pixel, which cannot be blended')
})

test('balanced weights of "yes": no / yes of each column', () => {
  const field = target('0', 'multilabel', [2], ['a', 'b'])
  const rows = [
    [1, 0],
    [0, 0],
    [0, 0],
    [1, 0],
  ].map(row => [Float32Array.from(row)])
  assert.equal(resolvePosWeight('balanced', 2, dataset([field], rows), field), [1, 1])
  assert.equal(resolvePosWeight('balanced', 2, dataset([field], rows.slice(0, 3)), field), [2, 1])
})

test('balanced weights of "yes" count every pixel of a mask', () => {
  const field = target('0', 'class', [4], ['no', 'yes'])
  const rows = [[Int32Array.of(1, 0, 0, 0)], [Int32Array.of(1, 0, 0, 0)]]
  assert.equal(resolvePosWeight('balanced', 1, dataset([field], rows), field), [3])
})

test.run()
