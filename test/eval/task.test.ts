import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Dataset, TargetField } from '../../src/data/index.ts'
import { checkClasses, findTarget, isSingleOutput, measureOutput } from '../../src/eval/task.ts'
import type { Activation } from '../../src/passes/index.ts'
import { errorOf } from '../support/errors.ts'

const made = (name: string, target: Pick<TargetField, 'kind' | 'dims' | 'classes'>) =>
  ({ name, targets: [{ name: '0', ...target }], classes: target.classes }) as unknown as Dataset

const PETS = ['cat', 'dog', 'emu']
const classes = made('pets', { kind: 'class', dims: [], classes: PETS })
const tags = made('tags', { kind: 'multilabel', dims: [3], classes: PETS })
const values = made('ages', { kind: 'values', dims: [3], classes: null })
const pixels = made('masks', { kind: 'values', dims: [8, 6], classes: null })

const ROWS: readonly (readonly [Activation, single: boolean, Dataset, expected: string])[] = [
  ['none', false, classes, 'classification logits'],
  ['softmax', false, classes, 'classification probabilities'],
  ['log_softmax', false, classes, 'classification log_probabilities'],
  ['none', true, classes, 'multilabel logits'],
  ['sigmoid', false, classes, 'multilabel sigmoid'],
  ['sigmoid', false, values, 'multilabel sigmoid'],
  ['none', false, tags, 'multilabel logits'],
  ['none', false, values, 'regression values'],
  ['softmax', false, values, 'regression values'],
]

const taskOf = (
  activation: Activation,
  shape: readonly (number | string)[],
  dataset: Dataset,
  axis: number | null = null,
) => {
  const {
    task,
    kind,
    axis: classes,
  } = measureOutput({ name: 'y', shape, activation, axis }, dataset.targets[0]!)
  return `${task} ${kind}${classes === undefined ? '' : ` ${classes}`}`
}

const DENSE: readonly (readonly [Activation, shape: readonly (number | string)[], expected: string])[] = [
  ['none', ['n', 4, 8, 6], 'segmentation logits'],
  ['none', ['n', 8, 6, 4], 'segmentation logits 3'],
  ['softmax', ['n', 4, 'h', 'w'], 'segmentation probabilities'],
  ['softmax', ['n', 'h', 'w', 4], 'segmentation probabilities 3'],
  ['sigmoid', ['n', 4, 8, 6], 'multilabel sigmoid'],
  ['none', ['n', 1, 8, 6], 'regression values'],
  ['none', ['n', 8, 6], 'regression values'],
  ['none', ['n', 4, 6, 8], 'regression values'],
]

for (const [activation, shape, expected] of DENSE) {
  test(`${activation}, ${shape.join()}, a number for each of 8x6 pixels: ${expected}`, () => {
    assert.is(taskOf(activation, shape, pixels), expected)
  })
}

for (const [activation, single, dataset, expected] of ROWS) {
  test(`${activation}${single ? ', one output' : ''}, ${dataset.name}: ${expected}`, () => {
    assert.is(taskOf(activation, ['n', single ? 1 : 3], dataset), expected)
  })
}

const tokens = made('tokens', { kind: 'class', dims: [5], classes: PETS })

const TOKENS: readonly (readonly [
  shape: readonly (number | string)[],
  axis: number | null,
  expected: string,
])[] = [
  [['n', 5, 3], null, 'token-classification logits 2'],
  [['n', 't', 3], null, 'token-classification logits 2'],
  [['n', 3, 5], null, 'token-classification logits'],
  [['n', 3, 't'], null, 'token-classification logits'],
  [['n', 5, 5], null, 'token-classification logits 2'],
  [['n', 5, 5], 1, 'token-classification logits'],
  [['n', 5, 1], null, 'multilabel logits'],
]

for (const [shape, axis, expected] of TOKENS) {
  test(`a class for each of 5 tokens, ${shape.join()}${axis === null ? '' : `, softmax over ${axis}`}: ${expected}`, () => {
    assert.is(taskOf('none', shape, tokens, axis), expected)
  })
}

test('a class for each pixel: one output a pixel is yes or no', () => {
  const mask = made('mask', { kind: 'class', dims: [8, 6], classes: ['no', 'yes'] })
  assert.is(taskOf('none', ['n', 1, 8, 6], mask), 'multilabel logits')
  const single = (shape: (string | number)[]) =>
    measureOutput({ name: 'y', shape, activation: 'none', axis: null }, mask.targets[0]!).single
  assert.equal(
    [
      ['n', 1, 8, 6],
      ['n', 8, 6, 1],
      ['n', 8, 6],
    ].map(single),
    [true, true, true],
  )
})

test('masks of another size than the output are refused with both sizes', async () => {
  const masks = made('masks', { kind: 'class', dims: [8, 6], classes: PETS })
  const error = await errorOf(() => taskOf('none', ['n', 3, 4, 3], masks))
  assert.is(
    error.message,
    'data: target "0" has a class for each of 8x6 positions, the model output "y" [n,3,4,3] has others',
  )
  assert.match(error.cure!, /give targets of the size of the output/)
})

test('the target of an output: asked for, by name, by position, the only one', async () => {
  const target = (name: string) => ({ name, kind: 'values' as const, dims: [], classes: null })
  const data = { name: 'd', targets: [target('box'), target('1'), target('label')] }
  const outputs = ['box', 'score', 'extra']
  assert.is(findTarget(data, 'box', outputs).name, 'box')
  assert.is(findTarget(data, 'score', outputs).name, '1')
  assert.is(findTarget(data, 'extra', outputs, 'label').name, 'label')
  assert.is(findTarget({ name: 'd', targets: [target('label')] }, 'extra', outputs).name, 'label')
  const error = await errorOf(() => findTarget(data, 'extra', outputs))
  assert.is(error.message, 'data: d has no target for the model output "extra", found "box", "1", "label"')
})

test('one number a sample is a single output', () => {
  assert.equal([['n', 1], ['n'], ['n', 1, 1]].map(isSingleOutput), [true, true, true])
  assert.equal([['n', 2], ['n', 'k'], null].map(isSingleOutput), [false, false, false])
})

test('a classifier must know every class of the data', async () => {
  const pets = { name: 'pets', length: 2, sampleName: (i: number) => `${i}.png` }
  checkClasses(pets, classes.targets[0]!, 3)
  checkClasses(pets, values.targets[0]!, 1)
  const error = await errorOf(() => checkClasses(pets, classes.targets[0]!, 2))
  assert.is(error.message, 'data: pets has 3 classes, the model has 2 outputs')
  assert.is(error.exitCode, 3)
  const counts = [Uint32Array.of(5, 1), Uint32Array.of(0, 2, 0, 4)]
  const masks = { ...pets, maskCounts: (i: number) => counts[i] }
  const named = await errorOf(() => checkClasses(masks, classes.targets[0]!, 2))
  assert.match(named.message, /the model has 2 outputs; the mask of 1\.png has class 3$/)
})

test.run()
