/** Mixed precision: which nodes are of which type, how close training stays to float32, and the scaling of the loss. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Builder } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import type { Engine } from '../../src/runtime/engine.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { nodesWithoutKernel } from '../../src/runtime/ort-cuda/capabilities.ts'
import { lowerForCuda } from '../../src/runtime/ort-cuda/lowering/index.ts'
import { sizeOf } from '../../src/tensor/shape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { initialState } from '../../src/train/initial-state.ts'
import { LOSS_SCALE } from '../../src/train/loss-scaling.ts'
import { prepareTraining } from '../../src/train/prepare.ts'
import { buildProgram } from '../../src/train/program.ts'
import { Random } from '../../src/util/random.ts'
import { relativeError } from '../support/close.ts'
import { cpuLoopEngine } from '../support/cpu-loop.ts'
import { stepsOf } from '../support/parity.ts'
import { openTraining, row, type OpenTraining } from '../support/training.ts'

const HALF = { precision: 'float16' } as const
const STEPS = 10

async function using<T>(
  model: string,
  engine: Engine,
  options: Parameters<typeof openTraining>[4],
  what: (run: OpenTraining) => Promise<T>,
): Promise<T> {
  const run = await openTraining(model, 'train', undefined, engine, options)
  try {
    return await what(run)
  } finally {
    await run.trainer.close()
  }
}

/** The scaling of a run: [scale, good steps in a row, skipped]. */
const scalerOf = (run: OpenTraining) => stateOf(run, 'scaler')

async function stateOf(run: OpenTraining, name: string): Promise<number[]> {
  return (await run.trainer.readState()).get(name)!.toNumbers()
}

/** How far PyTorch's own mixed precision is from float32: tools/fixtures/autocast.py. */
const AUTOCAST = JSON.parse(
  readFileSync(join(import.meta.dirname, '../../fixtures/autocast.json'), 'utf8'),
) as { readonly models: Readonly<Record<string, { readonly losses: number; readonly parameters: number }>> }
/** Two roundings of float16 beside what PyTorch has. */
const ROUNDING = 1e-3

const ENGINES: readonly (readonly [string, () => Engine])[] = [
  ['cpu', cpuEngine],
  ['the program for CUDA', cpuLoopEngine],
]

for (const [name, open] of ENGINES) {
  for (const [model, autocast] of Object.entries(AUTOCAST.models)) {
    test(`${name}, ${model}: ten steps are as close to float32 as those of torch.autocast`, async () => {
      await using(model, open(), HALF, async run => {
        const start = await stateOf(run, 'theta')
        const losses = await stepsOf(run, STEPS)
        const allowed = 2 * autocast.losses + ROUNDING
        losses.forEach((loss, i) => {
          const wanted = run.reference.losses64[i]!
          assert.ok(Math.abs(loss - wanted) <= allowed * wanted, `loss ${i} is ${loss}, expected ${wanted}`)
        })
        const end = await stateOf(run, 'theta')
        const { segments } = run.training.parameters
        const expected = segments.flatMap(({ name }) => run.tensors.get(`steps/param/${name}`)!.toNumbers())
        const norm = (values: readonly number[]) =>
          Math.hypot(...values.map((value, i) => value - expected[i]!))
        const error = norm(end) / norm(start)
        assert.ok(error <= 2 * autocast.parameters + ROUNDING, `parameters are off by ${error} of their way`)
      })
    })
  }
}

/** A transformer block with a head: LayerNormalization, attention, a GELU by Erf, residuals, mean over tokens. */
function transformer(): Model {
  const [batch, tokens, width, heads] = [4, 8, 32, 4]
  const op = new Builder()
  const graph = new Graph('transformer')
  const random = Random.of(7)
  const weight = (name: string, shape: number[], spread: number, mean = 0) => {
    const values = Array.from({ length: sizeOf(shape) }, () => mean + spread * (2 * random.float() - 1))
    const value = Value.constant(name, Tensor.of('float32', shape, values))
    graph.initializers.push(value)
    return value
  }
  const linear = (x: Value, name: string, out: number) => {
    const [into] = x.shape.slice(-1) as [number]
    return op.Add(
      op.MatMul(x, weight(`${name}.weight`, [into, out], into ** -0.5)),
      weight(`${name}.bias`, [out], 0.1),
    )
  }
  const norm = (x: Value, name: string) =>
    op.one(
      'LayerNormalization',
      [x, weight(`${name}.weight`, [width], 0.1, 1), weight(`${name}.bias`, [width], 0.1)],
      {
        shape: x.shape,
      },
    )
  const split = (x: Value) => op.Transpose(op.Reshape(x, [batch, tokens, heads, width / heads]), [0, 2, 1, 3])

  const x = Value.typed('x', 'float32', [batch, tokens, width])
  const normal = norm(x, 'norm1')
  const [q, k, v] = ['q', 'k', 'v'].map(name => split(linear(normal, name, width))) as [Value, Value, Value]
  const scores = op.Div(op.MatMul(q, op.Transpose(k, [0, 1, 3, 2])), op.scalar(Math.sqrt(width / heads)))
  const mixed = op.Transpose(op.MatMul(op.Softmax(scores, -1), v), [0, 2, 1, 3])
  const attended = op.Add(x, linear(op.Reshape(mixed, [batch, tokens, width]), 'proj', width))
  const hidden = linear(norm(attended, 'norm2'), 'fc1', 4 * width)
  const erf = op.Add(op.Erf(op.Mul(hidden, op.scalar(Math.SQRT1_2))), op.scalar(1))
  const gelu = op.Mul(op.Mul(hidden, erf), op.scalar(0.5))
  const out = op.Add(attended, linear(gelu, 'fc2', width))
  const logits = linear(op.ReduceMean(out, [1], false), 'head', 5)
  graph.inputs = [x]
  graph.outputs = [logits]
  graph.nodes = op.nodes
  graph.initializers.push(...op.initializers)
  return new Model(graph, 8, new Map([['', 18]]))
}

test('a transformer: ten steps of AdamW stay close to float32, on the CPU and in the program for CUDA', async () => {
  const train = async (engine: Engine, precision: 'float32' | 'float16') => {
    const graph = await prepareTraining(engine, transformer(), { batchSize: 4 })
    const training = buildProgram(graph, {
      loss: { kind: 'cross-entropy' },
      optimizer: { kind: 'adamw', beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 },
      ...{ batchNorm: 'train', dropout: false, precision },
    })
    const trainer = await engine.openTrainer(training.program)
    try {
      await trainer.writeState(await initialState(graph, training))
      const losses: number[] = []
      for (let step = 1; step <= STEPS; step++) {
        const random = Random.of(step)
        const x = Float32Array.from({ length: 4 * 8 * 32 }, () => 2 * random.float() - 1)
        const feeds = new Map([
          ['x', Tensor.of('float32', [4, 8, 32], x)],
          [training.targets[0]!.name, Tensor.of('int64', [4], [0n, 1n, 2n, 3n])],
          ...training.scalarsAt(step, 1e-3),
        ])
        const [metrics] = await trainer.steps([feeds])
        losses.push(metrics!.get('loss')!)
      }
      return { losses, theta: (await trainer.readState()).get('theta')!.toNumbers(), training }
    } finally {
      await trainer.close()
    }
  }
  const whole = await train(cpuEngine(), 'float32')
  for (const [name, open] of ENGINES) {
    const half = await train(open(), 'float16')
    half.losses.forEach((loss, i) => {
      const error = Math.abs(loss - whole.losses[i]!) / whole.losses[i]!
      assert.ok(error < 5e-3, `${name}: loss ${i} is off by ${error}`)
    })
    assert.ok(
      relativeError(half.theta, whole.theta) < 2e-2,
      `${name}: ${relativeError(half.theta, whole.theta)}`,
    )
    const products = half.training.program.graph.nodes.filter(({ opType }) => opType === 'MatMul')
    for (const node of products) assert.is(node.output(0).dtype, 'float16', node.label)
    for (const opType of ['Softmax', 'LayerNormalization']) {
      const found = half.training.program.graph.nodes.filter(node => node.opType === opType)
      for (const node of found) assert.is(node.output(0).dtype, 'float32', node.label)
    }
    assert.equal(
      nodesWithoutKernel(lowerForCuda(half.training.program).graph).map(({ reason }) => reason),
      [],
    )
  }
})

for (const model of ['bn_cnn-ts', 'resnet18_narrow-ts', 'mobilenetv2_narrow-ts']) {
  test(`${model}: every node of the program for CUDA has a kernel for its types`, async () => {
    await using(model, cpuEngine(), HALF, run => {
      const lowered = lowerForCuda(run.training.program).graph
      assert.equal(
        nodesWithoutKernel(lowered).map(({ node, reason }) => `${node.label}: ${reason}`),
        [],
      )
      const halved = lowered.nodes.filter(node => node.outputs[0]?.dtype === 'float16')
      assert.ok(halved.some(({ opType }) => opType === 'ConvTranspose'))
      return Promise.resolve()
    })
  })
}

test('gradients are added up over batches with one scale, and a step of them is skipped as a whole', async () => {
  const lossScale = { ...LOSS_SCALE, initial: 2 ** 40 }
  const options = { ...HALF, lossScale, accumulate: 2 }
  await using('bn_cnn-ts', cpuEngine(), options, async run => {
    const { tensors, training, graph, trainer } = run
    const theta = await stateOf(run, 'theta')
    for (let batch = 1; batch <= 4; batch++) {
      const feeds = new Map([
        [graph.inputs[0]!.name, row(tensors.get('steps/input')!, 0)],
        [training.targets[0]!.name, row(tensors.get('steps/target')!, 0)],
        ...training.scalarsAt(batch, 0.01),
      ])
      const [metrics] = await trainer.steps([feeds])
      assert.is(metrics!.get('skipped'), batch % 2 === 0 ? 1 : 0)
      const steps = Math.floor(batch / 2)
      assert.equal(await scalerOf(run), [2 ** (40 - steps), 0, steps])
      assert.equal(await stateOf(run, 'theta'), theta)
    }
  })
})

test('convolutions and what lies between them are float16, statistics, loss and optimizer are float32', async () => {
  await using('resnet18_narrow-ts', cpuEngine(), HALF, run => {
    const { graph } = run.training.program
    const types = new Map<string, Set<string>>()
    for (const { opType, domain, inputs } of graph.nodes) {
      const first = inputs.find(value => value?.dtype.startsWith('float'))
      if (!first) continue
      const key = `${domain}${domain && '.'}${opType}`
      types.set(key, (types.get(key) ?? new Set()).add(first.dtype))
    }
    const only = (key: string) => [...types.get(key)!].join()
    for (const key of [
      'Conv',
      'Relu',
      'MaxPool',
      'swa.composite.ConvInputGrad',
      'swa.composite.BatchNormTrain',
    ]) {
      assert.is(only(key), 'float16', key)
    }
    for (const key of ['swa.composite.SoftmaxCrossEntropy', 'ReduceSumSquare'])
      assert.is(only(key), 'float32', key)
    for (const value of [...graph.inputs, ...graph.outputs]) {
      assert.ok(value.dtype === 'float32' || value.dtype === 'int64', value.toString())
    }
    for (const node of graph.nodes.filter(({ opType }) => opType === 'swa.composite.BatchNormTrain')) {
      assert.equal(
        node.outputs.map(output => output?.dtype),
        ['float16', 'float32', 'float32'],
      )
    }
    return Promise.resolve()
  })
})

test('no Cast follows another, and no value is cast twice', async () => {
  await using('resnet18_narrow-ts', cpuEngine(), HALF, run => {
    const casts = run.training.program.graph.nodes.filter(({ opType }) => opType === 'Cast')
    for (const cast of casts) {
      const before = cast.input(0).producer
      const scalars = cast.input(0).rank === 0
      assert.ok(scalars || before?.opType !== 'Cast', `${cast.label} follows ${before?.label}`)
    }
    const sources = casts.map(cast => cast.input(0))
    assert.is(new Set(sources).size, sources.length)
    return Promise.resolve()
  })
})

test('a scale that overflows: steps are skipped and it is halved until one is good, as GradScaler does', async () => {
  const lossScale = { ...LOSS_SCALE, initial: 2 ** 40 }
  await using('bn_cnn-ts', cpuEngine(), { ...HALF, lossScale }, async run => {
    const { tensors, reference } = run
    const [inputs, targets] = [tensors.get('steps/input')!, tensors.get('steps/target')!]
    const theta = await stateOf(run, 'theta')
    const momentum = await stateOf(run, 'momentum')
    const statistics = await stateOf(run, 'bn')
    let skipped = 0
    for (; skipped < 40; skipped++) {
      const loss = await run.step(row(inputs, 0), row(targets, 0), [reference.hyperparameters.lr])
      assert.ok(Number.isFinite(loss), 'the loss itself is not scaled')
      const [scale, tracker, count] = await scalerOf(run)
      if (count === skipped) break
      assert.is(scale, 2 ** (39 - skipped))
      assert.is(tracker, 0)
      assert.is(count, skipped + 1)
      assert.equal(await stateOf(run, 'theta'), theta)
      assert.equal(await stateOf(run, 'momentum'), momentum)
      assert.not.equal(await stateOf(run, 'bn'), statistics, 'running statistics move with the forward pass')
    }
    assert.ok(skipped > 3 && skipped < 40, `${skipped} steps were skipped`)
    const [scale, tracker] = await scalerOf(run)
    assert.is(scale, 2 ** (40 - skipped))
    assert.is(tracker, 1)
    assert.not.equal(await stateOf(run, 'theta'), theta)
  })
})

test('the scale doubles after as many good steps as the interval says', async () => {
  const lossScale = { ...LOSS_SCALE, initial: 4, interval: 3 }
  await using('mlp-ts', cpuEngine(), { ...HALF, lossScale }, async run => {
    const scales: number[] = []
    for (let i = 0; i < 7; i++) {
      await stepsOf(run, 1)
      scales.push((await scalerOf(run))[0]!)
    }
    assert.equal(scales, [4, 4, 8, 8, 8, 16, 16])
  })
})

test("Adam's bias corrections count the steps that were made, not those that were skipped", async () => {
  const spec = { kind: 'adamw', beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0 } as const
  const lr = 0.01
  const thetaAfter = async (initial: number, wanted: number) => {
    const lossScale = { ...LOSS_SCALE, initial }
    const run = await openTraining('mlp-ts', 'train', spec, cpuEngine(), { ...HALF, lossScale })
    try {
      const [inputs, targets] = [run.tensors.get('steps/input')!, run.tensors.get('steps/target')!]
      for (let step = 1; step < 60; step++) {
        const feeds = new Map([
          [run.graph.inputs[0]!.name, row(inputs, 0)],
          [run.training.targets[0]!.name, row(targets, 0)],
          ...run.training.scalarsAt(step, lr),
        ])
        await run.trainer.steps([feeds])
        const [, , skipped] = await scalerOf(run)
        if (step - skipped! === wanted) return { theta: await stateOf(run, 'theta'), skipped: skipped! }
      }
      throw new Error('no good step')
    } finally {
      await run.trainer.close()
    }
  }
  const plain = await thetaAfter(1024, 2)
  const late = await thetaAfter(2 ** 40, 2)
  assert.is(plain.skipped, 0)
  assert.ok(late.skipped > 3)
  assert.ok(relativeError(late.theta, plain.theta) < 1e-3)
})

test.run()
