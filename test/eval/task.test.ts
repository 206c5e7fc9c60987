import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Dataset, TargetField } from '../../src/data/index.ts'
import { checkClasses, chooseTask, isSingleOutput, measureFor } from '../../src/eval/task.ts'
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

const DENSE: readonly (readonly [Activation, shape: readonly (number | string)[], expected: string])[] = [
  ['none', ['n', 4, 8, 6], 'classification logits'],
  ['softmax', ['n', 4, 'h', 'w'], 'classification probabilities'],
  ['sigmoid', ['n', 4, 8, 6], 'multilabel sigmoid'],
  ['none', ['n', 1, 8, 6], 'regression values'],
  ['none', ['n', 8, 6], 'regression values'],
  ['none', ['n', 4, 6, 8], 'regression values'],
]

for (const [activation, shape, expected] of DENSE) {
  test(`${activation}, ${shape.join()}, a number for each of 8x6 pixels: ${expected}`, () => {
    const { task, kind } = measureFor(chooseTask(activation, shape, pixels), activation)
    assert.is(`${task} ${kind}`, expected)
  })
}

for (const [activation, single, dataset, expected] of ROWS) {
  test(`${activation}${single ? ', one output' : ''}, ${dataset.name}: ${expected}`, () => {
    const { task, kind } = measureFor(chooseTask(activation, ['n', single ? 1 : 3], dataset), activation)
    assert.is(`${task} ${kind}`, expected)
  })
}

test('one number a sample is a single output', () => {
  assert.equal([['n', 1], ['n'], ['n', 1, 1]].map(isSingleOutput), [true, true, true])
  assert.equal([['n', 2], ['n', 'k'], null].map(isSingleOutput), [false, false, false])
})

test('a classifier must know every class of the data', async () => {
  checkClasses(classes, 3)
  checkClasses(values, 1)
  const error = await errorOf(() => checkClasses(classes, 2))
  assert.is(error.message, 'data: pets has 3 classes, the model has 2 outputs')
  assert.is(error.exitCode, 3)
})

test.run()
