import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { computedShapes, fixedBatchSize, rebatch, tensorOf } from '../../src/passes/index.ts'
import { errorOf } from '../support/errors.ts'
import { buildModel, int64s, type NodeRow } from './support/build.ts'

/** `node` on an activation of a model whose inputs are of the given first dimension. */
const modelOf = (batch: number | string, shape: readonly number[], ...nodes: readonly NodeRow[]) =>
  buildModel({
    inputs: { x: [batch, 4, 3] },
    weights: { shape: int64s(...shape) },
    nodes: [['Relu', ['x'], ['h']], ...nodes],
    outputs: ['y'],
  })

const RESHAPE: NodeRow = ['Reshape', ['h', 'shape'], ['y']]

const ROWS: readonly (readonly [title: string, shape: readonly number[], expected: readonly number[]])[] = [
  ['the batch size leads', [2, 12], [8, 12]],
  ['the rest is left open', [2, -1], [8, -1]],
  ['the batch size is left open', [-1, 12], [-1, 12]],
  ['the batch size is that of the input', [0, 2, -1], [0, 2, -1]],
]

for (const [title, shape, expected] of ROWS) {
  test(`Reshape, ${title}: ${shape.join()} becomes ${expected.join()}`, async () => {
    const model = modelOf(2, shape, RESHAPE)
    const { modified } = await rebatch(model, 8)
    assert.equal(tensorOf(model.graph.nodes[1]!.input(1))!.toNumbers(), expected)
    assert.is(modified, shape[0] === 2)
    assert.equal(tensorOf(model.graph.initializers[0])!.toNumbers(), shape, 'others may read it')
  })
}

test('sizes of a Resize follow, those of chosen axes stay', async () => {
  const model = modelOf(
    1,
    [1, 4, 6],
    ['Resize', ['h', '', '', 'shape'], ['a']],
    ['Resize', ['h', '', '', 'shape'], ['y'], { axes: [1, 2, 0] }],
  )
  await rebatch(model, 8)
  const sizes = model.graph.nodes.slice(1).map(node => tensorOf(node.input(3))!.toNumbers())
  assert.equal(sizes, [
    [8, 4, 6],
    [1, 4, 6],
  ])
})

test('shapes of weights, open batches and equal ones stay', async () => {
  const ofWeight: NodeRow = ['Reshape', ['shape', 'shape'], ['y']]
  for (const model of [
    modelOf(2, [2, 1], ofWeight),
    modelOf('N', [2, 6], RESHAPE),
    modelOf(8, [8, 12], RESHAPE),
  ])
    assert.is((await rebatch(model, 8)).modified, false)
})

test('a shape that does not begin with the batch is refused', async () => {
  const error = await errorOf(rebatch(modelOf(2, [8, -1], RESHAPE), 8))
  assert.is(
    error.message,
    'Reshape "Reshape_1": the model was exported for a batch of 2, found the shape [8,-1], which does not tell where a batch of 8 goes',
  )
  assert.is(error.cure, 'export the model with a dynamic batch dimension, or use --batch-size 2')
})

test('shapes that constants compute are told from those that inputs have', () => {
  const computed = modelOf(
    1,
    [1],
    ['Concat', ['shape', 'shape'], ['s'], { axis: 0 }],
    ['Reshape', ['h', 's'], ['y']],
  )
  assert.equal(computedShapes(computed.graph).map(String), ['%"s"'])
  const measured = modelOf(1, [1], ['Shape', ['x'], ['s']], ['Reshape', ['h', 's'], ['y']])
  assert.equal(computedShapes(measured.graph), [])
})

test('the batch size of a model is the first dimension that all inputs agree on', () => {
  const sizeOf = (inputs: Readonly<Record<string, readonly (number | string | null)[]>>) =>
    fixedBatchSize(buildModel({ inputs, nodes: [], outputs: [] }).graph)
  assert.is(sizeOf({ x: [3, 2], k: [3] }), 3)
  assert.is(sizeOf({ x: [3, 2], k: [1] }), null)
  assert.is(sizeOf({ x: ['N', 2] }), null)
})

test.run()
