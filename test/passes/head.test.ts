/** A new classifier: found behind whatever follows it, replaced with the shapes that name it, and runnable. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Model } from '../../src/ir/graph.ts'
import { cloneModel, findHead, reinitHead, verify } from '../../src/passes/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { buildModel, int64s, randoms, type NodeRow, type Parts } from './support/build.ts'
import { runModel } from './support/run.ts'

interface Row extends Pick<Parts, 'weights' | 'nodes'> {
  readonly title: string
  readonly input: readonly number[]
  /** Dims of the output with 7 classes. */
  readonly dims: readonly number[]
  /** Numbers behind one logit. */
  readonly fanIn: number
  /** Weights that change. */
  readonly changed: readonly string[]
}

const rows: readonly Row[] = [
  {
    title: 'Gemm with transB and a bias',
    input: [2, 6],
    weights: { w: randoms([10, 6]), b: randoms([10]) },
    nodes: [['Gemm', ['x', 'w', 'b'], ['y'], { transB: 1 }]],
    dims: [2, 7],
    fanIn: 6,
    changed: ['w', 'b'],
  },
  {
    title: 'MatMul and Add before a Softmax, the weight behind a Transpose',
    input: [2, 6],
    weights: { w: randoms([10, 6]), b: randoms([10]) },
    nodes: [
      ['Transpose', ['w'], ['t'], { perm: [1, 0] }],
      ['MatMul', ['x', 't'], ['h']],
      ['Add', ['b', 'h'], ['l']],
      ['Softmax', ['l'], ['y'], { axis: -1 }],
    ],
    dims: [2, 7],
    fanIn: 6,
    changed: ['w', 'b'],
  },
  {
    title: 'a 1x1 Conv, Relu, pooling and a Reshape that names the classes',
    input: [2, 4, 5, 5],
    weights: { w: randoms([10, 4, 1, 1]), b: randoms([10]), shape: int64s(-1, 10) },
    nodes: [
      ['Conv', ['x', 'w', 'b'], ['h']],
      ['Relu', ['h'], ['r']],
      ['GlobalAveragePool', ['r'], ['p']],
      ['Reshape', ['p', 'shape'], ['y']],
    ],
    dims: [2, 7],
    fanIn: 4,
    changed: ['w', 'b', 'shape'],
  },
  {
    title: 'a segmentation head without bias, resized by sizes that name the classes',
    input: [2, 4, 3, 3],
    weights: { w: randoms([10, 4, 1, 1]), sizes: int64s(2, 10, 6, 6) },
    nodes: [
      ['Conv', ['x', 'w'], ['h']],
      ['Resize', ['h', '', '', 'sizes'], ['y'], { mode: 'linear' }],
    ],
    dims: [2, 7, 6, 6],
    fanIn: 4,
    changed: ['w', 'sizes'],
  },
  {
    title: 'two heads whose logits are averaged',
    input: [2, 6],
    weights: {
      ...{ v: randoms([6, 10], 2), w: randoms([6, 10]), a: randoms([10]), b: randoms([10], 3) },
      two: Tensor.of('float32', [], [2]),
    },
    nodes: [
      ['Gemm', ['x', 'v', 'a'], ['h']],
      ['Gemm', ['x', 'w', 'b'], ['k']],
      ['Add', ['h', 'k'], ['s']],
      ['Div', ['s', 'two'], ['y']],
    ],
    dims: [2, 7],
    fanIn: 6,
    changed: ['v', 'w', 'a', 'b'],
  },
  {
    title: 'heads of two branches that are stacked and averaged, the MatMul of one with its bias',
    input: [2, 6],
    weights: {
      v: randoms([6, 10], 2),
      w: randoms([10, 6]),
      b: randoms([10], 3),
      a: randoms([10]),
      front: int64s(0),
    },
    nodes: [
      ['MatMul', ['x', 'v'], ['m']],
      ['Add', ['m', 'a'], ['h']],
      ['Gemm', ['x', 'w', 'b'], ['k'], { transB: 1 }],
      ['Unsqueeze', ['h', 'front'], ['h1']],
      ['Unsqueeze', ['k', 'front'], ['k1']],
      ['Concat', ['h1', 'k1'], ['s'], { axis: 0 }],
      ['ReduceMean', ['s', 'front'], ['l'], { keepdims: 0 }],
      ['LogSoftmax', ['l'], ['y'], { axis: -1 }],
    ],
    dims: [2, 7],
    fanIn: 6,
    changed: ['v', 'w', 'b', 'a'],
  },
  {
    title: 'Gemm without transB before a Sigmoid and a Flatten',
    input: [2, 6],
    weights: { w: randoms([6, 10]), b: randoms([10]) },
    nodes: [
      ['Gemm', ['x', 'w', 'b'], ['h']],
      ['Sigmoid', ['h'], ['s']],
      ['Flatten', ['s'], ['y']],
    ],
    dims: [2, 7],
    fanIn: 6,
    changed: ['w', 'b'],
  },
  {
    title: 'token classes of rank 3 behind a shape put together from parts',
    input: [2, 3, 6],
    weights: { w: randoms([6, 10]), b: randoms([10]), start: int64s(2, 3), count: int64s(10) },
    nodes: [
      ['MatMul', ['x', 'w'], ['h']],
      ['Add', ['h', 'b'], ['k']],
      ['Concat', ['start', 'count'], ['shape'], { axis: 0 }],
      ['Reshape', ['k', 'shape'], ['y']],
    ],
    dims: [2, 3, 7],
    fanIn: 6,
    changed: ['w', 'b', 'count'],
  },
]

function modelOf({ input, weights = {}, nodes }: Pick<Row, 'input' | 'weights' | 'nodes'>): Model {
  return buildModel({ inputs: { x: input }, weights, nodes, outputs: ['y'] })
}

for (const row of rows) {
  test(row.title, async () => {
    const model = modelOf(row)
    model.graph.outputs[0]!.type = {
      kind: 'tensor',
      dtype: 'float32',
      shape: row.dims.map(dim => (dim === 7 ? 10 : dim)),
    }
    const { model: old } = cloneModel(model)
    const { head } = await reinitHead(model, { classes: 7, seed: 3 })
    verify(model.graph)
    assert.is(head.classes, 10)
    // 1. It runs, and its outputs have the new number of classes, as declared.
    const size = row.input.reduce((a, b) => a * b, 1)
    const x = Tensor.of(
      'float32',
      row.input,
      Float32Array.from({ length: size }, (_, i) => Math.sin(i)),
    )
    const y = (await runModel(model, new Map([['x', x]]))).get('y')!
    assert.equal([...y.dims], row.dims)
    assert.equal(model.graph.outputs[0]!.type, { kind: 'tensor', dtype: 'float32', shape: row.dims })
    // 2. Nothing else changed.
    const before = new Map(old.graph.initializers.map(({ name, tensor }) => [name, tensor!]))
    const changed = model.graph.initializers.filter(({ name, tensor }) => tensor !== before.get(name))
    assert.equal(
      changed.map(({ name }) => name),
      row.changed,
    )
    assert.equal(
      model.graph.nodes.map(({ opType }) => opType),
      old.graph.nodes.map(({ opType }) => opType),
    )
    // 3. Numbers as nn.Linear and nn.Conv2d draw them: inside +-1/sqrt(fan-in), and not all small.
    const bound = 1 / Math.sqrt(row.fanIn)
    for (const { name, tensor } of changed) {
      if (tensor!.dtype !== 'float32') continue
      const numbers = tensor!.toNumbers().map(Math.abs)
      assert.ok(Math.max(...numbers) <= bound, name)
      assert.ok(Math.max(...numbers) > bound / 2, name)
    }
    // 4. The seed decides.
    const again = cloneModel(old).model
    await reinitHead(again, { classes: 7, seed: 3 })
    const other = cloneModel(old).model
    await reinitHead(other, { classes: 7, seed: 4 })
    const weightOf = ({ graph }: Model) => graph.initializers[0]!.tensor!.toNumbers()
    assert.equal(weightOf(again), weightOf(model))
    assert.not.equal(weightOf(other), weightOf(model))
  })
}

test('variance of a fresh weight is that of kaiming_uniform with a = sqrt(5)', async () => {
  const model = modelOf({
    input: [1, 64],
    weights: { w: randoms([64, 10]) },
    nodes: [['MatMul', ['x', 'w'], ['y']]],
  })
  await reinitHead(model, { classes: 1000, seed: 1 })
  const numbers = model.graph.initializers[0]!.tensor!.toNumbers()
  const mean = numbers.reduce((a, b) => a + b, 0) / numbers.length
  const variance = numbers.reduce((a, b) => a + (b - mean) ** 2, 0) / numbers.length
  // U(-b, b) has the variance b² / 3; b² = 1 / fan-in.
  assert.ok(Math.abs(mean) < 2e-3 && Math.abs(variance / (1 / 64 / 3) - 1) < 0.02, `${mean}, ${variance}`)
})

test('half precision stays, and class names leave the metadata or become those of the data', async () => {
  const half = Tensor.of('float16', [6, 10], randoms([6, 10]).toNumbers())
  const build = () =>
    buildModel({
      inputs: { x: [{ dtype: 'float16' }, 2, 6] },
      weights: { w: half },
      nodes: [['MatMul', ['x', 'w'], ['y']]],
      outputs: ['y'],
    })
  const model = build()
  model.metadata = new Map([
    ['names', '{0: "cat"}'],
    ['author', 'somebody'],
  ])
  const { notes } = await reinitHead(model, { classes: 2, seed: 1, classNames: ['ant', 'bee'] })
  assert.is(model.graph.initializers[0]!.tensor!.dtype, 'float16')
  assert.equal(
    [...model.metadata],
    [
      ['author', 'somebody'],
      ['classes', '["ant","bee"]'],
    ],
  )
  assert.equal(notes, [
    'new head: MatMul "MatMul_0" [6 -> 2], 10 classes before',
    'names of the old classes left the metadata: names',
  ])
})

const refusals: readonly [string, NodeRow[], Record<string, Tensor>, string][] = [
  [
    'a node that no head ends in',
    [
      ['Gemm', ['x', 'w'], ['h']],
      ['TopK', ['h', 'k'], ['y', 'i']],
    ],
    { w: randoms([6, 10]), k: int64s(2) },
    'head of output "y": expected a Gemm, MatMul or Conv with a stored weight, found TopK "TopK_1"',
  ],
  [
    'a weight that another node reads',
    [
      ['MatMul', ['x', 'w'], ['h']],
      ['MatMul', ['h', 'w'], ['y']],
    ],
    { w: randoms([6, 6]) },
    'head: MatMul "MatMul_1" shares its weight "w" with MatMul "MatMul_0", which a new head would change',
  ],
  [
    'a product of two activations',
    [
      ['Transpose', ['x'], ['t'], { perm: [1, 0] }],
      ['MatMul', ['x', 't'], ['y']],
    ],
    {},
    'head of output "y": expected a Gemm, MatMul or Conv with a stored weight, found MatMul "MatMul_1"',
  ],
  [
    'layers that do not agree',
    [
      ['MatMul', ['x', 'w'], ['h']],
      ['MatMul', ['x', 'v'], ['k']],
      ['Add', ['h', 'k'], ['y']],
    ],
    { w: randoms([6, 10]), v: randoms([6, 1]) },
    'head of output "y": expected layers of one number of classes, found MatMul "MatMul_0" gives 10, MatMul "MatMul_1" gives 1',
  ],
]

for (const [title, nodes, weights, message] of refusals) {
  test(`refused: ${title}`, () => {
    const model = modelOf({ input: [2, 6], weights, nodes })
    assert.throws(
      () => findHead(model),
      (error: Error) => error.message === message,
    )
  })
}

test.run()
