/** Mixed precision: which nodes are of which type, how close training stays to float32, and the scaling of the loss. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Engine } from '../../src/runtime/engine.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { LOSS_SCALE } from '../../src/train/loss-scaling.ts'
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

async function stateOf(run: OpenTraining, name: string): Promise<number[]> {
  return (await run.trainer.readState()).get(name)!.toNumbers()
}

for (const [name, open] of [['cpu', cpuEngine] as const, ['the program for CUDA', cpuLoopEngine] as const]) {
  // float16 has 11 digits: 4.9e-4 a rounding.
  for (const model of ['bn_cnn-ts', 'resnet18_narrow-ts', 'mlp-ts']) {
    test(`${name}, ${model}: ten steps stay close to PyTorch's in float32`, async () => {
      await using(model, open(), HALF, async run => {
        const losses = await stepsOf(run, STEPS)
        losses.forEach((loss, i) => {
          const wanted = run.reference.losses64[i]!
          assert.ok(Math.abs(loss - wanted) <= 1e-2 * wanted, `loss ${i} is ${loss}, PyTorch's ${wanted}`)
        })
        const theta = (await run.trainer.readState()).get('theta')!.view() as Float32Array
        for (const [weight, tensor] of run.training.parameters.unpack(theta)) {
          const expected = run.tensors.get(`steps/param/${weight}`)!.toNumbers()
          const error = relativeError(tensor.toNumbers(), expected)
          assert.ok(error <= 2e-2, `${weight}: relative error ${error}`)
        }
      })
    })
  }
}

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

/** The scaling of a run: [scale, good steps in a row, skipped]. */
const scalerOf = (run: OpenTraining) => stateOf(run, 'scaler')

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
          [run.training.target.name, row(targets, 0)],
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
