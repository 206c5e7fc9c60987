/** Metrics against closed forms, and against scikit-learn's and seqeval's (fixtures/metrics). */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Scores } from '../../src/eval/families/curves.ts'
import { MetricsAccumulator, type ClassFigures, type Measure } from '../../src/eval/metrics.ts'
import { defaultMetric, METRICS, metricCells, scoreOf } from '../../src/eval/score.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { assertClose } from '../support/close.ts'
import { errorOf } from '../support/errors.ts'

const floats = (dims: number[], values: number[]) => Tensor.of('float32', dims, values)
const labels = (values: number[]) => Tensor.of('int64', [values.length], values)

test('cross-entropy and top-1 of logits', () => {
  const metrics = new MetricsAccumulator({ task: 'classification', kind: 'logits' })
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
    const metrics = new MetricsAccumulator({ task: 'classification', kind })
    metrics.add(floats([1, 3], values), labels([2]), 1)
    assertClose([metrics.result().loss], [-Math.log(0.3)], { relative: 1e-6 }, kind)
  }
})

test('rows beyond the count are ignored, and so is the ignore index', () => {
  const metrics = new MetricsAccumulator({ task: 'classification', kind: 'logits', ignoreIndex: -1 })
  metrics.add(floats([3, 2], [5, 0, 5, 0, 0, 5]), labels([0, -1, 0]), 2)
  assert.is(metrics.result().top1, 1)
  assert.is(metrics.result().samples, 2)
})

test('NaN outputs are never right', () => {
  const metrics = new MetricsAccumulator({ task: 'classification', kind: 'logits' })
  metrics.add(floats([1, 2], [NaN, NaN]), labels([0]), 1)
  assert.is(metrics.result().top1, 0)
})

test('dense targets: [N,C,d] outputs with [N,d] classes', () => {
  const metrics = new MetricsAccumulator({ task: 'classification', kind: 'logits' })
  metrics.add(floats([1, 2, 2], [9, 0, 0, 9]), Tensor.of('int64', [1, 2], [0, 1]), 1)
  assert.is(metrics.result().top1, 1)
})

test('top-5 appears from six classes on', () => {
  const metrics = new MetricsAccumulator({ task: 'classification', kind: 'logits' })
  metrics.add(floats([2, 6], [6, 5, 4, 3, 2, 1, 6, 5, 4, 3, 2, 1]), labels([4, 5]), 2)
  assert.is(metrics.result().top1, 0)
  assert.is(metrics.result().top5, 0.5)
})

test('regression: mean squared and mean absolute error', () => {
  const metrics = new MetricsAccumulator({ task: 'regression', kind: 'values' })
  metrics.add(floats([2, 1], [1, 4]), floats([2, 1], [2, 2]), 2)
  const { samples, loss, mae } = metrics.result()
  assert.equal({ samples, loss, mae }, { samples: 2, loss: 2.5, mae: 1.5 })
})

test('multi-label: binary cross-entropy and decisions, from logits and from probabilities', () => {
  const logits = new MetricsAccumulator({ task: 'multilabel', kind: 'logits' })
  logits.add(floats([1, 2], [0, 2]), floats([1, 2], [1, 0]), 1)
  const expected = (Math.LN2 + Math.log(1 + Math.E ** 2)) / 2
  assertClose([logits.result().loss], [expected], { relative: 1e-12 }, 'loss')
  assert.is(logits.result().accuracy, 0)
  const sigmoid = new MetricsAccumulator({ task: 'multilabel', kind: 'sigmoid' })
  sigmoid.add(floats([1, 2], [0.5, 1 / (1 + Math.exp(-2))]), floats([1, 2], [1, 0]), 1)
  assertClose([sigmoid.result().loss], [expected], { relative: 1e-6 }, 'loss from probabilities')
})

test('a class outside the outputs is named', async () => {
  const metrics = new MetricsAccumulator({ task: 'classification', kind: 'logits' })
  const error = await errorOf(() => metrics.add(floats([1, 2], [0, 0]), labels([2]), 1))
  assert.is(error.message, "evaluate: target class 2 is outside the model's 2 classes")
  assert.is(error.exitCode, 3)
})

test('nothing measured is an error', async () => {
  const metrics = new MetricsAccumulator({ task: 'classification', kind: 'logits' })
  const error = await errorOf(() => metrics.result())
  assert.is(error.message, 'evaluate: no sample has a target, nothing was measured')
})

interface MetricsCase {
  readonly name: string
  readonly measure: Measure
  readonly output: { readonly dims: number[]; readonly values: number[] }
  readonly target: { readonly dims: number[]; readonly values: number[] }
  readonly figures: Readonly<Record<string, number>>
  readonly perClass: readonly (ClassFigures | null)[] | null
}

const FIXTURE = join(import.meta.dirname, '../../fixtures/metrics/index.json')
const { cases } = JSON.parse(readFileSync(FIXTURE, 'utf8')) as { cases: MetricsCase[] }

for (const { name, measure, output, target, figures, perClass } of cases) {
  test(`fixture ${name}: all metrics, batches of any size`, () => {
    for (const size of [output.dims[0]!, 3]) {
      const metrics = new MetricsAccumulator(measure)
      const [x, t] = [output.values.length, target.values.length].map(length => length / output.dims[0]!)
      for (let start = 0; start < output.dims[0]!; start += size) {
        const rows = Math.min(size, output.dims[0]! - start)
        const part = (values: number[], stride: number) =>
          values.slice(start * stride, (start + rows) * stride)
        const wanted = part(target.values, t!)
        const dtype = measure.task === 'regression' ? 'float32' : 'int64'
        metrics.add(
          floats([rows, ...output.dims.slice(1)], part(output.values, x!)),
          Tensor.of(dtype, [rows, ...target.dims.slice(1)], wanted),
          rows,
        )
      }
      const { samples, ...found } = metrics.result()
      assert.is(samples, output.dims[0])
      const names = Object.keys(figures).sort()
      assert.equal(Object.keys(found).sort(), names)
      for (const key of names)
        assertClose([found[key]!], [figures[key]!], { relative: 1e-9 }, `${name} ${key}`)
      if (!perClass) continue
      const classes = metrics.perClass()!
      assert.is(classes.length, perClass.length)
      perClass.forEach((expected, c) => {
        assert.is(classes[c] === null, expected === null)
        for (const [key, value] of Object.entries(expected ?? {}))
          assertClose(
            [classes[c]![key as keyof ClassFigures]],
            [value as number],
            { relative: 1e-9 },
            `class ${c} ${key}`,
          )
      })
    }
  })
}

test('a mask of yes and no has one IoU, however its output is laid out', () => {
  for (const dims of [
    [1, 1, 2, 2],
    [1, 2, 2, 1],
    [1, 2, 2],
  ]) {
    const metrics = new MetricsAccumulator({ task: 'multilabel', kind: 'logits', single: true })
    metrics.add(floats(dims, [1, 1, -1, -1]), Tensor.of('int64', [1, 2, 2], [1, 0, 1, 0]), 1)
    const { meanIou, precision, f1, accuracy } = metrics.result()
    assertClose([meanIou!, precision!, f1!, accuracy!], [1 / 3, 0.5, 0.5, 0.5], { relative: 1e-12 }, 'mask')
    assert.is(metrics.perClass()!.length, 1)
  }
})

test('a language model is measured at the next token', () => {
  const metrics = new MetricsAccumulator({ task: 'language-model', kind: 'logits', axis: 2 })
  // Two positions count: log 2 each; the first one is right by its index.
  metrics.add(floats([1, 3, 2], [0, 0, 0, 0, 9, 9]), Tensor.of('int64', [1, 3], [1, 0, 1]), 1)
  const { loss, accuracy, perplexity } = metrics.result()
  assertClose([loss, perplexity!, accuracy!], [Math.log(2), 2, 0.5], { relative: 1e-12 }, 'language model')
})

test('areas of scores that are all equal, and of one class only', () => {
  const equal = new Scores()
  for (const positive of [true, false, false, true]) equal.add(0.5, positive)
  assert.equal(equal.areas(), { auc: 0.5, averagePrecision: 0.5 })
  const alone = new Scores()
  alone.add(1, true)
  assert.equal(alone.areas(), { auc: NaN, averagePrecision: 1 })
})

test('R2 of a column that never changes, and of a single sample', () => {
  const flat = new MetricsAccumulator({ task: 'regression', kind: 'values' })
  flat.add(floats([2, 2], [3, 1, 3, 2]), floats([2, 2], [3, 1, 3, 1]), 2)
  assert.is(flat.result()['r2'], 0.5, '1 for the column that is met, 0 for the other')
  const single = new MetricsAccumulator({ task: 'regression', kind: 'values' })
  single.add(floats([1, 1], [3]), floats([1, 1], [2]), 1)
  assert.is(single.result()['r2'], undefined)
})

test('every metric that a task gives has a title', () => {
  const known = Object.keys(METRICS)
  for (const { name, figures } of cases)
    for (const key of Object.keys(figures)) assert.ok(known.includes(key), `${name}: ${key}`)
})

test('scores: the default of each task, a named metric, and ties', async () => {
  const score = (metrics: object, metric?: string) => scoreOf({ samples: 100, loss: 1, ...metrics }, metric)
  assert.is(defaultMetric({ samples: 1, loss: 1, top1: 0.5, f1: 0.4 }), 'top1')
  assert.is(defaultMetric({ samples: 1, loss: 1, accuracy: 0.5, meanIou: 0.4 }), 'meanIou')
  assert.is(defaultMetric({ samples: 1, loss: 1, mae: 0.5 }), 'loss')
  assert.is(defaultMetric({ samples: 1, loss: 1, accuracy: 0.5, perplexity: 9 }), 'loss')
  assert.ok(score({ top1: 0.9, loss: 0.1 }) > score({ top1: 0.9, loss: 0.2 }))
  assert.ok(score({ top1: 0.91, loss: 9 }) > score({ top1: 0.9, loss: 0 }))
  assert.is(score({ mae: 3 }, 'mae'), -3)
  assert.is(score({ r2: -2 }, 'r2'), -2)
  assert.ok(score({ 'aux.top1': 0.5 }, 'aux.top1') > score({ 'aux.top1': 0.4 }, 'aux.top1'))
  const error = await errorOf(() => score({ mae: 3 }, 'auc'))
  assert.is(error.message, '--metric auc: it is not measured here, found loss, mae')
})

test('cells: what is shown, in order, names of other outputs before their titles', () => {
  assert.equal(metricCells({ samples: 1, loss: 0.25, top1: 0.5, ece: 0.1, 'aux.top1': 0.75, margin: 2 }), [
    ['top-1', '50.00 %'],
    ['loss', '0.2500'],
    ['aux top-1', '75.00 %'],
    ['margin', '2.000'],
  ])
})

test.run()
