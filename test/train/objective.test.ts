/** Losses of several outputs: one step of plain SGD shows the gradient, closed forms say what it should be. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Tensor } from '../../src/tensor/tensor.ts'
import { buildModel, floats } from '../passes/support/build.ts'
import { assertClose } from '../support/close.ts'
import { A, B, product, stepOf, twoOutputs, x, X } from '../support/first-step.ts'

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
