import { fileURLToPath } from 'node:url'
import { readdirSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { findObstacles } from '../../src/eval/obstacles.ts'
import { Builder } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Node } from '../../src/ir/node.ts'
import { Value } from '../../src/ir/value.ts'
import { loadModel } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { inspectModel } from '../../src/eval/inspect.ts'

const MODELS = fileURLToPath(new URL('../../fixtures/models', import.meta.url))

for (const name of readdirSync(MODELS)) {
  test(`nothing stands in the way of ${name}`, async () => {
    const file = await loadModel(`${MODELS}/${name}/model.onnx`)
    try {
      assert.equal(await findObstacles(file.model), [])
    } finally {
      await file.close()
    }
  })
}

/** y = Strange(x W) Sqrt(2), with an operator of another domain behind the weight or before it. */
function modelWith(order: 'before' | 'behind', opType = 'Strange', domain = 'com.example'): Model {
  const op = new Builder()
  const x = Value.typed('x', 'float32', [2, 3])
  const w = Value.constant('w', Tensor.of('float32', [3, 3], new Array<number>(9).fill(0.5)))
  const strange = (value: Value) => {
    const output = Value.typed('s', 'float32', [2, 3])
    op.nodes.push(new Node(opType, [value], [output], { name: 'odd', domain }))
    return output
  }
  const y = order === 'before' ? op.MatMul(strange(x), w) : strange(op.MatMul(x, w))
  const graph = new Graph('g')
  graph.inputs = [x]
  graph.initializers = [w]
  graph.nodes = op.nodes
  graph.outputs = [y]
  return new Model(
    graph,
    8,
    new Map([
      ['', 18],
      ['com.example', 1],
    ]),
  )
}

test('an operator without a rule matters only where a gradient passes it', async () => {
  assert.equal(await findObstacles(modelWith('before')), [])
  const [obstacle, ...rest] = await findObstacles(modelWith('behind'))
  assert.match(obstacle!.message, 'no rule for com.example.Strange "odd"')
  assert.match(obstacle!.cure!, 'freeze the parameters that feed this node')
  assert.equal(rest, [])
})

test('freezing the weights in front of it takes the obstacle away, and leaves nothing to train', async () => {
  const [obstacle, ...rest] = await findObstacles(modelWith('behind'), { freeze: ['w'] })
  assert.is(obstacle!.message, 'model: no weight is trained')
  assert.equal(rest, [])
})

test('quantized operators and open choices of outputs are named', async () => {
  const model = modelWith('behind', 'DynamicQuantizeLinear', '')
  model.graph.outputs.push(model.graph.nodes[0]!.output(0))
  const messages = (await findObstacles(model)).map(({ message }) => message).join('\n')
  assert.match(messages, 'found a quantized graph (DynamicQuantizeLinear x 1')
  assert.match(messages, 'expected one output to attach the loss to, found 2')
})

test('inspect tells gradients that stop from rules that are missing', async () => {
  const { operators, externalData, prediction } = await inspectModel(
    fileURLToPath(new URL('../../fixtures/serde/subgraphs.onnx', import.meta.url)),
  )
  const state = (name: string) => operators.find(({ operator }) => operator === name)?.gradient
  assert.equal([state('If'), state('Add')], ['missing', 'rule'])
  assert.equal(externalData, [])
  assert.is(prediction?.output, 'y')
})

test('inspect lists data files', async () => {
  const path = fileURLToPath(new URL('../../fixtures/serde/external.onnx', import.meta.url))
  const { externalData, weights, metadata } = await inspectModel(path)
  assert.equal(
    externalData.map(({ file }) => file),
    ['external.data'],
  )
  assert.is(weights.filter(({ external }) => external).length, externalData[0]!.tensors)
  assert.is(metadata['kept'], 'yes')
})

test.run()
