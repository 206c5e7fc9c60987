/**
 * The CUDA engine's programs on the CPU provider, against PyTorch's ten losses and the CPU engine's parameters. What is not
 * tried here is the device.
 */

import { readdirSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Engine, Feeds } from '../../../src/runtime/engine.ts'
import { cpuEngine } from '../../../src/runtime/ort-cpu/engine.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { relativeError } from '../../support/close.ts'
import { cpuLoopEngine } from '../../support/cpu-loop.ts'
import { MODELS, openTraining, row } from '../../support/training.ts'

const STEPS = 10
/** Of the numerical contract. What is found is 1e-6, and less. */
const TOLERANCE = 1e-4
/** Between the two engines, whose kernels for the same gradients differ; Winograd's rounding is the larger part. */
const BETWEEN_ENGINES = 1e-5

interface Trained {
  readonly losses: number[]
  readonly losses64: readonly number[]
  readonly state: ReadonlyMap<string, Tensor>
}

/** Ten steps of the reference, in chunks of the given sizes. */
async function train(name: string, engine: Engine, chunks: readonly number[]): Promise<Trained> {
  const { reference, tensors, graph, training, trainer } = await openTraining(
    name,
    'train',
    undefined,
    engine,
  )
  try {
    const [inputs, targets] = [tensors.get('steps/input')!, tensors.get('steps/target')!]
    const batch = (step: number): Feeds => {
      const k = step % inputs.dims[0]!
      return new Map([
        [graph.inputs[0]!.name, row(inputs, k)],
        [training.targets[0]!.name, row(targets, k)],
        [training.scalarInputs[0]!, Tensor.scalar('float32', reference.hyperparameters.lr)],
      ])
    }
    const losses: number[] = []
    for (const size of chunks) {
      const batches = Array.from({ length: size }, (_, i) => batch(losses.length + i))
      losses.push(...(await trainer.steps(batches)).map(metrics => metrics.get('loss')!))
    }
    assert.equal(trainer.notes, [])
    return { losses, losses64: reference.losses64, state: await trainer.readState() }
  } finally {
    await trainer.close()
  }
}

for (const name of readdirSync(MODELS)) {
  test(`${name}: ten steps as PyTorch makes them, and as the CPU engine does`, async () => {
    const found = await train(name, cpuLoopEngine(), [1, 1, 3, 5])
    for (const [i, wanted] of found.losses64.slice(0, STEPS).entries()) {
      const error = Math.abs(found.losses[i]! - wanted) / wanted
      assert.ok(error <= TOLERANCE, `loss ${i} is ${found.losses[i]!}, PyTorch ${wanted}`)
    }
    const other = await train(name, cpuEngine(), [STEPS])
    assert.equal([...found.state.keys()], [...other.state.keys()])
    for (const [vector, tensor] of other.state) {
      const error = relativeError(
        found.state.get(vector)!.view() as Float32Array,
        tensor.view() as Float32Array,
      )
      assert.ok(error <= BETWEEN_ENGINES, `${vector}: relative error ${error}`)
    }
  })
}

test('chunks of a whole model change nothing', async () => {
  const results = []
  for (const chunks of [new Array<number>(STEPS).fill(1), [3, 3, 3, 1], [7, 3]]) {
    const { losses, state } = await train('bn_cnn-ts', cpuLoopEngine(), chunks)
    results.push({ losses, state: [...state].map(([vector, { data }]) => [vector, data]) })
  }
  assert.equal(results[1], results[0])
  assert.equal(results[2], results[0])
})

test.run()
