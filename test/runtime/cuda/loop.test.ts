/** Chunks of steps as one Loop: what the model looks like, that chunks change no result, and what crosses the bus. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Builder } from '../../../src/ir/builder.ts'
import { Graph } from '../../../src/ir/graph.ts'
import { printGraph } from '../../../src/ir/print.ts'
import { Value } from '../../../src/ir/value.ts'
import { namesOf } from '../../../src/passes/index.ts'
import type { Feeds, Trainer } from '../../../src/runtime/engine.ts'
import { wrapInLoop } from '../../../src/runtime/ort-cuda/loop-program.ts'
import type { Program } from '../../../src/runtime/program.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { assertClose } from '../../support/close.ts'
import { cpuLoopEngine } from '../../support/cpu-loop.ts'
import { errorOf } from '../../support/errors.ts'

/**
 * a' = a · rate + (mask ? x[label] : 100), b' = a, loss = sum a: every kind of value that crosses the body's edge, and
 * constants.
 */
function smallProgram(): Program {
  const graph = new Graph('small')
  const op = new Builder(['a', 'b', 'x', 'label', 'rate', 'mask'])
  const [a, b] = [Value.typed('a', 'float32', [2]), Value.typed('b', 'float32', [2])]
  const x = Value.typed('x', 'float32', [3, 2])
  const label = Value.typed('label', 'int64', [])
  const rate = Value.typed('rate', 'float32', [])
  const mask = Value.typed('mask', 'bool', [2])
  graph.inputs = [a, b, x, label, rate, mask]
  const row = op.Gather(x, label, 0)
  const next = op.Add(op.Mul(a, rate), op.Where(mask, row, op.floats([2], [100, 100])))
  const loss = op.ReduceSum(a, [0], false)
  const kept = op.Identity(a)
  graph.outputs = [next, kept, loss]
  graph.nodes = op.nodes
  graph.initializers = op.initializers
  const vector = (name: string, input: string, output: string) => ({
    name,
    length: 2,
    parts: [{ input, output, offset: 0, shape: [2] }],
  })
  return {
    graph,
    opset: 18,
    state: [vector('first', 'a', next.name), vector('second', 'b', kept.name)],
    inputs: [x, label, rate, mask].map(({ name, dtype, shape }) => ({ name, dtype, shape })),
    metrics: [loss.name],
  }
}

const COUNT = 11

function batch(step: number): Feeds {
  return new Map([
    [
      'x',
      Tensor.of(
        'float32',
        [3, 2],
        Array.from({ length: 6 }, (_, i) => step + i),
      ),
    ],
    ['label', Tensor.of('int64', [], [BigInt(step % 3)])],
    ['rate', Tensor.scalar('float32', 1 / (step + 2))],
    ['mask', Tensor.of('bool', [2], [1, step % 2])],
  ])
}

/** What the steps should give, in float64. */
function expected(): { losses: number[]; first: number[]; second: number[] } {
  let [first, second] = [
    [1, 2],
    [0, 0],
  ]
  const losses: number[] = []
  for (let step = 0; step < COUNT; step++) {
    losses.push(first[0]! + first[1]!)
    const next = first.map((value, i) => {
      const row = step + 2 * (step % 3) + i
      return value / (step + 2) + (i === 0 || step % 2 === 1 ? row : 100)
    })
    second = first
    first = next
  }
  return { losses, first, second }
}

const START: Feeds = new Map([
  ['first', Tensor.of('float32', [2], [1, 2])],
  ['second', Tensor.of('float32', [2], [0, 0])],
])

async function opened(): Promise<Trainer> {
  const trainer = await cpuLoopEngine().openTrainer(smallProgram())
  await trainer.writeState(START)
  return trainer
}

/** Losses and final state of COUNT steps, `size` at once (the last chunk may be shorter). */
async function stepsBy(size: number): Promise<{ losses: number[]; state: Uint8Array[]; trainer: Trainer }> {
  const trainer = await opened()
  const results: Promise<readonly ReadonlyMap<string, number>[]>[] = []
  for (let first = 0; first < COUNT; first += size) {
    const steps = Array.from({ length: Math.min(size, COUNT - first) }, (_, i) => batch(first + i))
    results.push(trainer.steps(steps))
  }
  const losses = (await Promise.all(results)).flat().map(metrics => [...metrics.values()][0]!)
  const state = [...(await trainer.readState()).values()].map(tensor => tensor.data as Uint8Array)
  return { losses, state, trainer }
}

test('the model: one Loop over a body that takes its slices', () => {
  const { lowered, tripCount } = wrapInLoop(smallProgram(), smallProgram())
  assert.is(tripCount, 'loop/steps')
  const { graph } = lowered
  assert.equal(
    graph.inputs.map(input => input.toString()),
    [
      '%"loop/steps"<int64,[]>',
      '%"a"<float32,[2]>',
      '%"b"<float32,[2]>',
      '%"x"<float32,[steps,3,2]>',
      '%"label"<int64,[steps]>',
      '%"rate"<float32,[steps]>',
      '%"mask"<bool,[steps,2]>',
    ],
  )
  assert.equal(
    graph.nodes.map(node => node.opType),
    ['Loop'],
  )
  const [body] = graph.nodes[0]!.subgraphs()
  assert.snapshot(
    printGraph(body!),
    `graph small_body (loop/iteration<int64,[]>, loop/condition<bool,[]>, loop/a<float32,[2]>, loop/b<float32,[2]>)
  weight const_0<float32,[2]>
  weight const_1<int64,[1]>
  loop/x<float32,[3,2]> = Gather (x, loop/iteration)
  loop/label<int64,[]> = Gather (label, loop/iteration)
  loop/rate<float32,[]> = Gather (rate, loop/iteration)
  loop/mask<bool,[2]> = Gather (mask, loop/iteration)
  Gather_0<float32,[2]> = Gather {axis=0} (loop/x, loop/label)
  Mul_1<float32,[2]> = Mul (loop/a, loop/rate)
  Where_2<float32,[2]> = Where (loop/mask, Gather_0, const_0)
  loop/Add_3<float32,[2]> = Add (Mul_1, Where_2)
  loop/ReduceSum_4<float32,[]> = ReduceSum {keepdims=0} (loop/a, const_1)
  loop/Identity_5<float32,[2]> = Identity (loop/a)
  Identity_0<bool,[]> = Identity (loop/condition)
  return Identity_0<bool,[]>, loop/Add_3<float32,[2]>, loop/Identity_5<float32,[2]>, loop/ReduceSum_4<float32,[]>`,
  )
})

test('losses and state are right, and the same to the byte whatever the chunks', async () => {
  const one = await stepsBy(1)
  const { losses, first, second } = expected()
  assertClose(one.losses, losses, { relative: 1e-6 }, 'losses')
  const floats = (bytes: Uint8Array) => new Float32Array(bytes.buffer, bytes.byteOffset, 2)
  assertClose(floats(one.state[0]!), first, { relative: 1e-6 }, 'first')
  assertClose(floats(one.state[1]!), second, { relative: 1e-6 }, 'second')
  await one.trainer.close()
  for (const size of [3, 7, 11]) {
    const many = await stepsBy(size)
    assert.equal(many.losses, one.losses)
    assert.equal(many.state, one.state)
    await many.trainer.close()
  }
})

test('what crosses the bus: the batches, and the state twice a run', async () => {
  // x 24, label 8, rate 4, mask 2 bytes; a metric has 4, the trip count 8, the state 16.
  const batchBytes = 24 + 8 + 4 + 2
  for (const [size, runs] of [
    [1, 11],
    [3, 4],
    [7, 2],
  ] as const) {
    const { trainer } = await stepsBy(size)
    const traffic = {
      steps: COUNT,
      runs,
      batchBytes: COUNT * (batchBytes + 4) + runs * 8,
      stateBytes: runs * 2 * 16,
    }
    assert.equal(trainer.traffic, traffic)
    await trainer.readState()
    assert.equal(trainer.traffic, traffic, 'a snapshot moves nothing')
    const { steps, stateBytes } = trainer.traffic
    if (COUNT % size === 0) assert.is(stateBytes / steps, (2 * 16) / size)
    await trainer.close()
  }
})

test('a batch that is not what the program takes is named', async () => {
  const trainer = await opened()
  const wrong = new Map([...batch(1), ['rate', Tensor.of('float64', [], [1])]])
  const error = await errorOf(trainer.steps([batch(0), wrong]))
  assert.is(error.message, 'batch 1: expected rate of type float32[], found float64[]')
  const missing = new Map([...batch(0)].filter(([name]) => name !== 'x'))
  assert.is(
    (await errorOf(trainer.steps([missing]))).message,
    'batch 0: expected x of type float32[3,2], found nothing',
  )
  await trainer.close()
})

test('after a step that failed nothing goes on until the state is written anew', async () => {
  const trainer = await opened()
  const outside = new Map([...batch(0), ['label', Tensor.of('int64', [], [9n])]])
  const [failed, next] = [trainer.steps([batch(0), outside]), trainer.steps([batch(1)])]
  const message = (await errorOf(failed)).message
  assert.match(message, /indices element out of data bounds/)
  assert.is((await errorOf(next)).message, message)
  assert.is((await errorOf(trainer.readState())).message, message)
  await trainer.writeState(START)
  const [metrics] = await trainer.steps([batch(0)])
  assert.equal([...metrics!.values()], [3])
  await trainer.close()
})

test('memory that no chunk size helps against: one error, from the thread too', async () => {
  const program = smallProgram()
  const op = new Builder(namesOf(program.graph))
  const { graph } = program
  const huge = op.Expand(op.Reshape(graph.inputs[4]!, [1, 1]), [2 ** 22, 2 ** 23])
  const loss = op.ReduceSum(huge, [0, 1], false)
  graph.nodes.push(...op.nodes)
  graph.initializers.push(...op.initializers)
  graph.outputs[2] = loss
  const trainer = await cpuLoopEngine().openTrainer({ ...program, metrics: [loss.name] })
  await trainer.writeState(START)
  const error = await errorOf(trainer.steps([batch(0), batch(1), batch(2)]))
  assert.is(error.exitCode, 4)
  assert.match(
    error.message,
    /^onnxruntime: training: one step on 3 samples does not fit into the memory of the device/,
  )
  assert.is(error.cure, 'use a --batch-size smaller than 3, or close what else uses the device')
  await trainer.close()
})

test('no batches: no steps', async () => {
  const trainer = await opened()
  assert.equal(await trainer.steps([]), [])
  await trainer.close()
})

test.run()
