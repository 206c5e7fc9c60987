/** Training graphs: which batch size they have, and what the loss attaches to. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { prepareTraining } from '../../src/train/prepare.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { buildModel, int64s, randoms } from '../passes/support/build.ts'
import { errorOf } from '../support/errors.ts'

/** Made for a batch of one: flattened by `Reshape(h, Concat([1], [-1]))`, as `x.view(x.size(0), -1)` is exported. */
const classifier = () =>
  buildModel({
    inputs: { x: [1, 3, 2] },
    weights: { one: int64s(1), rest: int64s(-1), w: randoms([6, 5]) },
    nodes: [
      ['Relu', ['x'], ['h']],
      ['Concat', ['one', 'rest'], ['shape'], { axis: 0 }],
      ['Reshape', ['h', 'shape'], ['flat']],
      ['MatMul', ['flat', 'w'], ['z']],
      ['Sigmoid', ['z'], ['y']],
    ],
    outputs: ['y'],
  })

test('a model made for one sample is trained on batches', async () => {
  const training = await prepareTraining(cpuEngine(), classifier(), { batchSize: 4 })
  assert.equal(training.heads[0]!.logits.shape, [4, 5])
  assert.equal(
    training.parameters.map(({ name }) => name),
    ['w'],
  )
})

test('the loss takes what a Sigmoid is applied to, or what it gives', async () => {
  const ends = []
  for (const attach of ['logits', 'output'] as const) {
    const { heads, notes } = await prepareTraining(cpuEngine(), classifier(), {
      batchSize: 1,
      heads: [{ attach }],
    })
    const { logits, activation, output } = heads[0]!
    ends.push([logits.producer!.opType, activation, output, notes.length])
  }
  assert.equal(ends, [
    ['MatMul', 'sigmoid', 'y', 1],
    ['Sigmoid', 'none', 'y', 0],
  ])
})

/** The row of a table at the first token 2, as a classifier reads its text's end; on zeros there is none. */
const endReader = () =>
  buildModel({
    inputs: { ids: [{ dtype: 'int64' }, 'N', 3] },
    weights: { two: int64s(2), zero: int64s(0), table: randoms([3, 4]) },
    nodes: [
      ['Equal', ['ids', 'two'], ['found']],
      ['NonZero', ['found'], ['places']],
      ['Gather', ['places', 'zero'], ['first'], { axis: 1 }],
      ['Concat', ['first', 'places'], ['all'], { axis: 1 }],
      ['Gather', ['all', 'zero'], ['column'], { axis: 1 }],
      ['Transpose', ['column'], ['place']],
      ['GatherND', ['ids', 'place'], ['end']],
      ['Gather', ['table', 'end'], ['shift'], { axis: 0 }],
      ['Gather', ['table', 'ids'], ['rows'], { axis: 0 }],
      ['Add', ['rows', 'shift'], ['y']],
    ],
    outputs: ['y'],
  })

test('a model that does not run on zeros is observed on a batch of the data', async () => {
  const options = { batchSize: 2 }
  const error = await errorOf(prepareTraining(cpuEngine(), endReader(), options))
  assert.ok(error.message.includes('a forward pass on the training batch failed'), error.message)
  const ids = Tensor.of('int64', [2, 3], [1n, 2n, 0n, 0n, 1n, 2n])
  const sample = () => Promise.resolve(new Map([['ids', ids]]))
  const training = await prepareTraining(cpuEngine(), endReader(), { ...options, sample })
  assert.equal(training.heads[0]!.logits.shape, [2, 3, 4])
})

test('a shape of another batch size in a model of open batch is named', async () => {
  const model = buildModel({
    inputs: { x: ['N', 3, 2] },
    weights: { shape: int64s(1, 6), w: randoms([6, 5]) },
    nodes: [
      ['Relu', ['x'], ['h']],
      ['Reshape', ['h', 'shape'], ['flat']],
      ['MatMul', ['flat', 'w'], ['y']],
    ],
    outputs: ['y'],
  })
  const error = await errorOf(prepareTraining(cpuEngine(), model, { batchSize: 4 }))
  assert.is(error.exitCode, 3)
  assert.match(
    error.message,
    /^model: Reshape ".*" takes %"h"<float32,\[4,3,2\]> and is written to give \[1,6\]$/,
  )
  assert.match(error.cure!, /export it with a dynamic batch/)
})

test.run()
