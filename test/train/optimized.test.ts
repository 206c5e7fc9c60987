/** Models that ONNX Runtime's optimisers wrote train as PyTorch trains the models before them (fixtures/optimized). */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { loadModel } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { initialState } from '../../src/train/initial-state.ts'
import { prepareTraining } from '../../src/train/prepare.ts'
import { buildProgram } from '../../src/train/program.ts'
import { readSafetensors } from '../support/safetensors.ts'

const FOLDER = join(import.meta.dirname, '../../fixtures/optimized')
const names = readdirSync(FOLDER).flatMap(file => (file.endsWith('.onnx') ? [file.slice(0, -5)] : []))

interface Reference {
  readonly lr: number
  readonly losses: readonly number[]
  readonly operators: Readonly<Record<string, number>>
}

for (const name of names) {
  const path = join(FOLDER, name)
  const reference = JSON.parse(readFileSync(`${path}.json`, 'utf8')) as Reference

  test(`${name}: the losses of PyTorch`, async () => {
    assert.ok(
      Object.keys(reference.operators).some(key => key.startsWith('com.microsoft.')),
      'the file has a fusion',
    )
    const tensors = readSafetensors(`${path}.safetensors`)
    const engine = cpuEngine()
    const file = await loadModel(`${path}.onnx`)
    const target = tensors.get('target')!
    const graph = await prepareTraining(engine, file.model, { batchSize: target.dims[0]! })
    const training = buildProgram(graph, {
      loss: { kind: 'cross-entropy' },
      optimizer: { kind: 'sgd', momentum: 0, nesterov: false, weightDecay: 0 },
      batchNorm: 'frozen',
      dropout: false,
    })
    const trainer = await engine.openTrainer(training.program, { threads: 1 })
    try {
      await trainer.writeState(await initialState(graph, training))
      const feeds = new Map([
        ...graph.inputs.map(input => [input.name, tensors.get(`input/${input.name}`)!] as const),
        [training.targets[0]!.name, target],
        [training.scalarInputs[0]!, Tensor.scalar('float32', reference.lr)],
      ])
      const metrics = await trainer.steps(reference.losses.map(() => feeds))
      metrics.forEach((found, i) => {
        const [loss, expected] = [found.get('loss')!, reference.losses[i]!]
        assert.ok(
          Math.abs(loss - expected) <= 1e-5 * expected,
          `loss ${i} is ${loss}, expected ${expected}`,
        )
      })
    } finally {
      await trainer.close()
      await file.close()
    }
  })
}

test.run()
