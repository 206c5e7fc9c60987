/** Losses and their gradients against PyTorch's (fixtures/losses) and against closed forms. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { differentiate } from '../../src/autodiff/driver.ts'
import { RULES } from '../../src/autodiff/index.ts'
import { COMPOSITE_LOWERINGS, lowerComposites } from '../../src/autodiff/lowering/index.ts'
import { Builder } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { targetType, writeCorrect, writeLoss, type LossSpec } from '../../src/train/losses.ts'
import { assertClose, relativeError } from '../support/close.ts'
import { runModel } from '../support/ort.ts'
import { readSafetensors } from '../support/safetensors.ts'

const FOLDER = join(import.meta.dirname, '../../fixtures/losses')

interface Parameters {
  readonly label_smoothing?: number
  readonly ignore_index?: number
  readonly weight?: readonly number[]
  readonly pos_weight?: readonly number[]
  readonly gamma?: number
  readonly delta?: number
  readonly beta?: number
}

interface LossCase {
  readonly name: string
  readonly loss: string
  readonly parameters: Parameters
  readonly reduction: 'mean' | 'sum'
  readonly value: number
}

const smoothed = ({ label_smoothing: labelSmoothing, weight }: Parameters) => ({
  ...(labelSmoothing === undefined ? {} : { labelSmoothing }),
  ...(weight ? { classWeights: weight } : {}),
})

const SPECS: Readonly<Record<string, (p: Parameters) => LossSpec>> = {
  cross_entropy: p => ({ kind: 'cross-entropy', ...smoothed(p), ignoreIndex: p.ignore_index! }),
  soft_cross_entropy: p => ({ kind: 'cross-entropy', targets: 'probabilities', ...smoothed(p) }),
  focal: p => ({ kind: 'focal', gamma: p.gamma!, ...smoothed(p) }),
  causal_lm: p => ({ kind: 'causal-lm', ignoreIndex: p.ignore_index! }),
  bce_with_logits: p => ({
    kind: 'binary-cross-entropy',
    ...(p.pos_weight ? { posWeight: p.pos_weight } : {}),
  }),
  binary_focal: p => ({ kind: 'binary-focal', gamma: p.gamma! }),
  mse: () => ({ kind: 'mse' }),
  l1: () => ({ kind: 'l1' }),
  huber: p => ({ kind: 'huber', delta: p.delta! }),
  smooth_l1: p => ({ kind: 'smooth-l1', beta: p.beta! }),
}

/** The loss, its gradient by the logits, and the number of right answers. */
async function evaluate(spec: LossSpec, logits: Tensor, target: Tensor) {
  const x = Value.typed('logits', logits.dtype, logits.dims)
  const t = Value.typed('target', target.dtype, target.dims)
  const op = new Builder(['logits', 'target'])
  const loss = writeLoss(op, spec, x, t)
  const dx = differentiate(op, [...op.nodes], loss, [x], { rules: RULES, opset: 18 }).get(x)!
  const correct = writeCorrect(op, spec, x, t)
  const graph = new Graph('loss')
  graph.inputs = [x, t]
  graph.initializers = op.initializers
  graph.nodes = op.nodes
  graph.outputs = correct ? [loss, dx, correct] : [loss, dx]
  const model = new Model(lowerComposites(graph, COMPOSITE_LOWERINGS), 8, new Map([['', 18]]))
  const found = await runModel(model, { logits, target })
  const numbers = (value: Value | null) => (value ? found[value.name]!.toNumbers() : null)
  return { loss: numbers(loss)![0]!, dlogits: numbers(dx)!, correct: numbers(correct)?.[0] ?? null }
}

const float = (dims: number[], values: number[]) => Tensor.of('float32', dims, values)
const labels = (dims: number[], values: number[]) => Tensor.of('int64', dims, values.map(BigInt))

const { cases } = JSON.parse(readFileSync(join(FOLDER, 'index.json'), 'utf8')) as { cases: LossCase[] }

for (const fixture of cases) {
  test(`fixture ${fixture.name}`, async () => {
    const tensors = readSafetensors(join(FOLDER, `${fixture.name}.safetensors`))
    const spec: LossSpec = { ...SPECS[fixture.loss]!(fixture.parameters), reduction: fixture.reduction }
    const logits = tensors.get('logits')!
    const target = tensors.get('target')!
    const wanted = targetType(spec, Value.typed('x', 'float32', logits.dims))
    assert.equal([target.dtype, ...target.dims], [wanted.dtype, ...wanted.shape])
    const { loss, dlogits } = await evaluate(spec, logits, target)
    assertClose([loss], [fixture.value], { relative: 1e-6 }, `${fixture.name}: loss`)
    const error = relativeError(dlogits, tensors.get('dlogits')!.toNumbers())
    assert.ok(error <= 1e-5, `${fixture.name}: relative error of dlogits is ${error}`)
  })
}

test('the index has cases of every loss', () => {
  assert.equal([...new Set(cases.map(({ loss }) => loss))].sort(), Object.keys(SPECS).sort())
})

const LOGITS = [0.5, -1, 2, 0.25, 1.5, -0.75]

/** −Σ q · log softmax(x) / divisor and its gradient (softmax(x) · Σ q − q) / divisor, in float64, for [rows, classes]. */
function reference(x: number[], q: number[], classes: number, divisor: number) {
  let loss = 0
  const dx: number[] = []
  for (let row = 0; row < x.length; row += classes) {
    const z = x.slice(row, row + classes)
    const t = q.slice(row, row + classes)
    const total = z.reduce((sum, value) => sum + Math.exp(value), 0)
    const mass = t.reduce((sum, value) => sum + value, 0)
    z.forEach((value, c) => {
      const p = Math.exp(value) / total
      loss -= (t[c]! * Math.log(p)) / divisor
      dx.push((p * mass - t[c]!) / divisor)
    })
  }
  return { loss, dx }
}

async function agrees(spec: LossSpec, target: Tensor, q: number[], divisor: number): Promise<void> {
  const found = await evaluate(spec, float([2, 3], LOGITS), target)
  const expected = reference(LOGITS, q, 3, divisor)
  assertClose([found.loss], [expected.loss], { relative: 1e-6 }, 'loss')
  assertClose(found.dlogits, expected.dx, { absolute: 1e-7, relative: 1e-5 }, 'dlogits')
}

test('class weights make the mean a weighted one', () =>
  agrees(
    { kind: 'cross-entropy', classWeights: [0.5, 2, 3] },
    labels([2], [1, 2]),
    [0, 2, 0, 0, 0, 3],
    2 + 3,
  ))

test('class weights apply to what smoothing spreads, not to the divisor', () => {
  // torch: (1 - e) · Σ w[y] · nll / Σ w[y] + e / C · Σ Σ w[c] · (-log p) / Σ w[y]
  const [w0, w1, w2] = [0.5, 2, 3]
  const share = 0.3 / 3
  return agrees(
    { kind: 'cross-entropy', classWeights: [w0, w1, w2], labelSmoothing: 0.3 },
    labels([2], [1, 2]),
    [w0 * share, w1 * (0.7 + share), w2 * share, w0 * share, w1 * share, w2 * (0.7 + share)],
    w1 + w2,
  )
})

test('reduction sum does not divide', () =>
  agrees({ kind: 'cross-entropy', reduction: 'sum' }, labels([2], [1, 2]), [0, 1, 0, 0, 0, 1], 1))

const SOFT = [0.2, 0.3, 0.5, 0, 1, 0]

test('probabilities as targets: the mean is over samples', () =>
  agrees({ kind: 'cross-entropy', targets: 'probabilities' }, float([2, 3], SOFT), SOFT, 2))

test('probabilities with smoothing and class weights', () =>
  agrees(
    { kind: 'cross-entropy', targets: 'probabilities', labelSmoothing: 0.3, classWeights: [0.5, 2, 3] },
    float([2, 3], SOFT),
    SOFT.map((t, i) => (0.7 * t + 0.1) * [0.5, 2, 3][i % 3]!),
    2,
  ))

test('the class axis may be the last one', async () => {
  const spec: LossSpec = { kind: 'cross-entropy', axis: -1 }
  const logits = float([1, 2, 3], LOGITS)
  assert.equal(targetType(spec, Value.typed('x', 'float32', [1, 2, 3])).shape, [1, 2])
  const found = await evaluate(spec, logits, labels([1, 2], [1, 2]))
  assertClose([found.loss], [reference(LOGITS, [0, 1, 0, 0, 0, 1], 3, 2).loss], { relative: 1e-6 }, 'loss')
})

test('a label outside the classes makes the loss NaN', async () => {
  for (const stray of [3, -1]) {
    const found = await evaluate({ kind: 'cross-entropy' }, float([2, 3], LOGITS), labels([2], [1, stray]))
    assert.ok(Number.isNaN(found.loss), `label ${stray} gives ${found.loss}`)
  }
})

test('a batch of ignored labels has no mean, as in PyTorch', async () => {
  const found = await evaluate({ kind: 'cross-entropy' }, float([2, 3], LOGITS), labels([2], [-100, -100]))
  assert.ok(Number.isNaN(found.loss))
})

test('cross-entropy of large logits stays finite', async () => {
  const found = await evaluate({ kind: 'cross-entropy' }, float([1, 2], [1e4, -1e4]), labels([1], [1]))
  assert.is(found.loss, 2e4)
  assert.equal(found.dlogits, [1, -1])
})

test('binary cross-entropy at zero and at large logits', async () => {
  const x = [0, 0, 1e4, -1e4, 1e4]
  const t = [0, 1, 1, 0, 0]
  const spec: LossSpec = { kind: 'binary-cross-entropy', reduction: 'sum' }
  const found = await evaluate(spec, float([5], x), float([5], t))
  assertClose([found.loss], [2 * Math.log(2) + 1e4], { relative: 1e-6 }, 'loss')
  assertClose(found.dlogits, [0.5, -0.5, 0, 0, 1], { absolute: 1e-7 }, 'dlogits')
})

test('smooth-l1 with beta 0 is l1', async () => {
  const found = await evaluate({ kind: 'smooth-l1', beta: 0 }, float([3], [1, 2, 4]), float([3], [2, 2, 2]))
  assertClose([found.loss], [1], { relative: 1e-6 }, 'loss')
  assertClose(found.dlogits, [-1 / 3, 0, 1 / 3], { relative: 1e-6 }, 'dlogits')
})

test('right answers are counted', async () => {
  const right = async (spec: LossSpec, logits: Tensor, target: Tensor) =>
    (await evaluate(spec, logits, target)).correct
  const ce = { kind: 'cross-entropy' } as const
  const logits = float([4, 3], [3, 1, 2, 0, 5, 1, 1, 1, 0, -1, -2, -3])
  assert.is(await right(ce, logits, labels([4], [0, 1, 0, 1])), 3)
  assert.is(await right(ce, logits, labels([4], [0, -100, 1, 0])), 2, 'ignored, and a tie goes to the first')
  assert.is(await right({ ...ce, ignoreIndex: 0 }, logits, labels([4], [0, 1, 0, 0])), 1, 'an ignored class')
  const soft = float([4, 3], [1, 0, 0, 0.2, 0.5, 0.3, 0, 1, 0, 0, 0, 1])
  assert.is(await right({ ...ce, targets: 'probabilities' }, logits, soft), 2)
  const image = float([1, 2, 1, 3], [1, 0, 2, 0, 1, 3])
  assert.is(await right(ce, image, labels([1, 1, 3], [0, 1, 0])), 2)
  const binary = { kind: 'binary-cross-entropy' } as const
  assert.is(await right(binary, float([4], [1, -1, 2, -2]), float([4], [1, 1, 0, 0])), 2)
  assert.is(await right({ kind: 'mse' }, float([1], [1]), float([1], [1])), null)
})

test('what does not fit is refused', () => {
  const write = (spec: LossSpec, shape: number[], target: Value) => () =>
    writeLoss(new Builder(), spec, Value.typed('x', 'float32', shape), target)
  const t = Value.typed('t', 'float32', [2])
  assert.throws(
    write({ kind: 'mse' }, [2, 1], t),
    'mse: targets should have the shape of %"x"<float32,[2,1]>, found %"t"<float32,[2]>',
  )
  assert.throws(
    write({ kind: 'cross-entropy' }, [2, 3], Value.typed('t', 'int64', [3])),
    'cross-entropy: labels should have shape [2] for logits %"x"<float32,[2,3]>, found %"t"<int64,[3]>',
  )
  assert.throws(
    write({ kind: 'cross-entropy' }, [2, 3], t),
    'probabilities should have the shape of the logits',
  )
  assert.throws(
    write({ kind: 'cross-entropy', classWeights: [1] }, [2, 3], t),
    'cross-entropy: expected 3 class weights, found 1',
  )
  assert.throws(
    write({ kind: 'cross-entropy', labelSmoothing: 2 }, [2, 3], t),
    'cross-entropy: label smoothing should be in [0, 1], found 2',
  )
  assert.throws(write({ kind: 'huber', delta: 0 }, [2], t), 'huber: delta should be positive, found 0')
  assert.throws(
    write({ kind: 'smooth-l1', beta: -1 }, [2], t),
    'smooth-l1: beta should not be negative, found -1',
  )
})

test.run()
