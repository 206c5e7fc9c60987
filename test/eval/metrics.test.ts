/** Metrics against closed forms. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { MetricsAccumulator } from '../../src/eval/metrics.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { assertClose } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'

const floats = (dims: number[], values: number[]) => Tensor.of('float32', dims, values)
const labels = (values: number[]) => Tensor.of('int64', [values.length], values)

test('cross-entropy and top-1 of logits', () => {
  const metrics = new MetricsAccumulator('classification', 'logits')
  metrics.add(floats([2, 3], [0, 0, 0, 1, 2, 3]), labels([1, 2]), 2)
  const { loss, top1, samples } = metrics.result()
  // Row 1: log 3. Row 2: log(e + e² + e³) - 3.
  const expected = (Math.log(3) + Math.log(Math.E + Math.E ** 2 + Math.E ** 3) - 3) / 2
  assertClose([loss], [expected], { relative: 1e-12 }, 'loss')
  // Ties go to the lowest index: class 1 of the first row is not the winner.
  assert.is(top1, 0.5)
  assert.is(samples, 2)
})

test('probabilities and log-probabilities give the loss of the logits they come from', () => {
  const probabilities = [0.2, 0.5, 0.3]
  for (const [kind, values] of [
    ['probabilities', probabilities],
    ['log_probabilities', probabilities.map(Math.log)],
  ] as const) {
    const metrics = new MetricsAccumulator('classification', kind)
    metrics.add(floats([1, 3], values), labels([2]), 1)
    assertClose([metrics.result().loss], [-Math.log(0.3)], { relative: 1e-6 }, kind)
  }
})

test('rows beyond the count are ignored, and so is the ignore index', () => {
  const metrics = new MetricsAccumulator('classification', 'logits', -1)
  metrics.add(floats([3, 2], [5, 0, 5, 0, 0, 5]), labels([0, -1, 0]), 2)
  assert.is(metrics.result().top1, 1)
  assert.is(metrics.result().samples, 2)
})

test('NaN outputs are never right', () => {
  const metrics = new MetricsAccumulator('classification', 'logits')
  metrics.add(floats([1, 2], [NaN, NaN]), labels([0]), 1)
  assert.is(metrics.result().top1, 0)
})

test('dense targets: [N,C,d] outputs with [N,d] classes', () => {
  const metrics = new MetricsAccumulator('classification', 'logits')
  metrics.add(floats([1, 2, 2], [9, 0, 0, 9]), Tensor.of('int64', [1, 2], [0, 1]), 1)
  assert.is(metrics.result().top1, 1)
})

test('top-5 appears from six classes on', () => {
  const metrics = new MetricsAccumulator('classification', 'logits')
  metrics.add(floats([2, 6], [6, 5, 4, 3, 2, 1, 6, 5, 4, 3, 2, 1]), labels([4, 5]), 2)
  assert.is(metrics.result().top1, 0)
  assert.is(metrics.result().top5, 0.5)
})

test('regression: mean squared and mean absolute error', () => {
  const metrics = new MetricsAccumulator('regression', 'values')
  metrics.add(floats([2, 1], [1, 4]), floats([2, 1], [2, 2]), 2)
  assert.equal(metrics.result(), { samples: 2, loss: 2.5, mae: 1.5 })
})

test('multi-label: binary cross-entropy and decisions, from logits and from probabilities', () => {
  const logits = new MetricsAccumulator('multilabel', 'logits')
  logits.add(floats([1, 2], [0, 2]), floats([1, 2], [1, 0]), 1)
  const expected = (Math.LN2 + Math.log(1 + Math.E ** 2)) / 2
  assertClose([logits.result().loss], [expected], { relative: 1e-12 }, 'loss')
  assert.is(logits.result().accuracy, 0)
  const sigmoid = new MetricsAccumulator('multilabel', 'sigmoid')
  sigmoid.add(floats([1, 2], [0.5, 1 / (1 + Math.exp(-2))]), floats([1, 2], [1, 0]), 1)
  assertClose([sigmoid.result().loss], [expected], { relative: 1e-6 }, 'loss from probabilities')
})

test('a class outside the outputs is named', async () => {
  const metrics = new MetricsAccumulator('classification', 'logits')
  const error = await errorOf(() => metrics.add(floats([1, 2], [0, 0]), labels([2]), 1))
  assert.is(error.message, "evaluate: target class 2 is outside the model's 2 classes")
  assert.is(error.exitCode, 3)
})

test('nothing measured is an error', async () => {
  const metrics = new MetricsAccumulator('classification', 'logits')
  const error = await errorOf(() => metrics.result())
  assert.is(error.message, 'evaluate: no sample has a target, nothing was measured')
})

test.run()
