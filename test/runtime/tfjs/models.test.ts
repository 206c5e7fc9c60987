/** Training programs on tfjs kernels against PyTorch and the CPU engine: gradients of every family of models, ten steps. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { relativeError } from '../../support/close.ts'
import { engine, tensorCount } from '../../support/tfjs.ts'
import { gradientsOf, openTraining, PLAIN_SGD, row } from '../../support/training.ts'

const TOLERANCE = 1e-4
const STEPS = 10

const GRADIENTS = [
  'mlp-ts13',
  'mlp-dynamo',
  'bn_cnn-dynamo-raw',
  'mobilenetv2_narrow-ts',
  'resnet18_narrow-dynamo',
]

for (const name of GRADIENTS) {
  for (const batchNorm of ['train', 'frozen'] as const) {
    test(`${name}: gradients with ${batchNorm} batch norm`, async () => {
      const run = await openTraining(name, batchNorm, PLAIN_SGD, engine)
      try {
        const { reference, tensors } = run
        const { loss, gradients } = await gradientsOf(run)
        const wanted = batchNorm === 'train' ? reference.loss : reference.loss_eval
        assert.ok(Math.abs(loss - wanted) <= TOLERANCE * wanted, `loss ${loss}, PyTorch ${wanted}`)
        const prefix = batchNorm === 'train' ? 'grad' : 'grad_eval'
        for (const [parameter, gradient] of gradients) {
          if (reference.zero_gradients.includes(parameter) && batchNorm === 'train') continue
          const expected = tensors.get(`${prefix}/${parameter}`)!
          const error = relativeError(gradient.toNumbers(), expected.toNumbers())
          assert.ok(error <= TOLERANCE, `${parameter}: relative error ${error}`)
        }
      } finally {
        await run.trainer.close()
      }
    })
  }
}

/** Every optimizer, with what it carries; resnet18 has strides, shortcuts and a max pooling. */
const TRAINED = [
  { name: 'bn_cnn-ts', steps: STEPS },
  { name: 'mlp-dynamo', steps: STEPS },
  { name: 'resnet18_narrow-ts', steps: 3 },
] as const

for (const { name, steps } of TRAINED) {
  test(`${name}: ${steps} steps of SGD with momentum`, async () => {
    const before = tensorCount()
    const [run, cpu] = [
      await openTraining(name, 'train', undefined, engine),
      await openTraining(name, 'train'),
    ]
    try {
      const { reference, tensors, training } = run
      const [inputs, targets] = [tensors.get('steps/input')!, tensors.get('steps/target')!]
      let held = 0
      for (let i = 0; i < steps; i++) {
        const k = i % inputs.dims[0]!
        const batch = [row(inputs, k), row(targets, k), [reference.hyperparameters.lr]] as const
        const loss = await run.step(...batch)
        await cpu.step(...batch)
        const wanted = reference.losses64[i]!
        assert.ok(Math.abs(loss - wanted) <= TOLERANCE * wanted, `loss ${i} is ${loss}, PyTorch ${wanted}`)
        if (i === 0) held = tensorCount()
        assert.is(tensorCount(), held, `tensors after step ${i + 1}`)
      }
      const [state, expected] = [await run.trainer.readState(), await cpu.trainer.readState()]
      assert.equal([...state.keys()], [...expected.keys()])
      for (const [vector, tensor] of state) {
        const error = relativeError(tensor.toNumbers(), expected.get(vector)!.toNumbers())
        assert.ok(error <= TOLERANCE, `${vector}: relative error ${error} to the CPU engine`)
      }
      if (steps === STEPS) {
        const theta = training.parameters.unpack(state.get('theta')!.view() as Float32Array)
        for (const [weight, tensor] of theta) {
          const error = relativeError(tensor.toNumbers(), tensors.get(`steps/param/${weight}`)!.toNumbers())
          assert.ok(error <= TOLERANCE, `${weight}: relative error ${error} to PyTorch`)
        }
      }
    } finally {
      await run.trainer.close()
      await cpu.trainer.close()
    }
    assert.is(tensorCount(), before, 'tensors that were not freed')
  })
}

test('AdamW: three steps as on the CPU engine; what crosses to the device is counted', async () => {
  const adamw = { kind: 'adamw', beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 } as const
  const [run, cpu] = [
    await openTraining('bn_cnn-ts', 'train', adamw, engine),
    await openTraining('bn_cnn-ts', 'train', adamw),
  ]
  try {
    const [inputs, targets] = [run.tensors.get('steps/input')!, run.tensors.get('steps/target')!]
    const lengths = run.training.program.state.map(({ length }) => 4 * length)
    const written = lengths.reduce((sum, bytes) => sum + bytes, 0)
    for (let i = 0; i < 3; i++) {
      const scalars = run.training.optimizer.scalarsAt(i + 1, 1e-3)
      await run.step(row(inputs, i), row(targets, i), scalars)
      await cpu.step(row(inputs, i), row(targets, i), scalars)
    }
    const { steps, runs, batchBytes, stateBytes } = run.trainer.traffic
    // Two metrics and three step scalars, each of four bytes, beside the batch.
    const batch = row(inputs, 0).byteLength + row(targets, 0).byteLength + 4 * (2 + 3)
    assert.equal([steps, runs, batchBytes, stateBytes], [3, 3, 3 * batch, written])
    const [state, expected] = [await run.trainer.readState(), await cpu.trainer.readState()]
    for (const [vector, tensor] of state) {
      const error = relativeError(tensor.toNumbers(), expected.get(vector)!.toNumbers())
      assert.ok(error <= TOLERANCE, `${vector}: relative error ${error}`)
    }
    // What is written is what is read, wherever and however it lies in between.
    await run.trainer.writeState(state)
    for (const [vector, tensor] of await run.trainer.readState()) {
      assert.equal(tensor.toNumbers(), state.get(vector)!.toNumbers(), vector)
    }
  } finally {
    await run.trainer.close()
    await cpu.trainer.close()
  }
})

test.run()
