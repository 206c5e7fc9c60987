/** Training programs against PyTorch: every folder of fixtures/models; gradients, ten losses, weights and statistics. */

import { readdirSync } from 'node:fs'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { RunningAverage } from '../../src/averaging/index.ts'
import { relativeError } from '../support/close.ts'
import { gradientsOf, MODELS, openTraining, PLAIN_SGD, row } from '../support/training.ts'

const TOLERANCE = 1e-4
const STEPS = 10

for (const name of readdirSync(MODELS)) {
  for (const batchNorm of ['train', 'frozen'] as const) {
    test(`${name}: gradients with ${batchNorm} batch norm`, async () => {
      const run = await openTraining(name, batchNorm, PLAIN_SGD)
      try {
        const { reference, tensors } = run
        const { loss, gradients } = await gradientsOf(run)
        const wanted = batchNorm === 'train' ? reference.loss : reference.loss_eval
        assert.ok(Math.abs(loss - wanted) <= TOLERANCE * wanted, `loss ${loss}, PyTorch ${wanted}`)
        const prefix = batchNorm === 'train' ? 'grad' : 'grad_eval'
        const expected = [...tensors.keys()].filter(key => key.startsWith(`${prefix}/`))
        assert.equal([...gradients.keys()].sort(), expected.map(key => key.slice(prefix.length + 1)).sort())
        for (const [parameter, gradient] of gradients) {
          if (reference.zero_gradients.includes(parameter) && batchNorm === 'train') continue
          const error = relativeError(
            gradient.toNumbers(),
            tensors.get(`${prefix}/${parameter}`)!.toNumbers(),
          )
          assert.ok(error <= TOLERANCE, `${parameter}: relative error ${error}`)
        }
      } finally {
        await run.trainer.close()
      }
    })
  }

  test(`${name}: ten steps of SGD, and the average of every second`, async () => {
    const run = await openTraining(name, 'train')
    try {
      const { reference, tensors, training, trainer } = run
      const average = new RunningAverage({ segments: training.parameters.segments, fingerprint: '' })
      const [inputs, targets] = [tensors.get('steps/input')!, tensors.get('steps/target')!]
      for (let i = 0; i < STEPS; i++) {
        const k = i % inputs.dims[0]!
        const loss = await run.step(row(inputs, k), row(targets, k), [reference.hyperparameters.lr])
        const wanted = reference.losses64[i]!
        assert.ok(Math.abs(loss - wanted) <= TOLERANCE * wanted, `loss ${i} is ${loss}, PyTorch ${wanted}`)
        if (!reference.hyperparameters.swa_after_steps.includes(i + 1)) continue
        const theta = (await trainer.readState()).get('theta')!.view() as Float32Array
        average.add({ theta, buffers: new Map() }, { name: `step-${i + 1}`, ordinal: i + 1 })
      }
      const state = await trainer.readState()
      const compare = (prefix: string, found: ReadonlyMap<string, { toNumbers(): number[] }>) => {
        for (const [weight, tensor] of found) {
          const error = relativeError(tensor.toNumbers(), tensors.get(`${prefix}/${weight}`)!.toNumbers())
          assert.ok(error <= TOLERANCE, `${weight}: relative error ${error}`)
        }
      }
      compare('steps/param', training.parameters.unpack(state.get('theta')!.view() as Float32Array))
      compare('swa', training.parameters.unpack(average.mean().theta))
      const bn = state.get('bn')
      assert.is(bn !== undefined, training.statistics.length > 0)
      if (bn) compare('steps/buffer', training.statistics.unpack(bn.view() as Float32Array))
    } finally {
      await run.trainer.close()
    }
  })
}

test.run()
