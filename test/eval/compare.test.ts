/** Evaluation of whole model files, measured against PyTorch's loss in evaluation mode. */

import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { evaluateModels } from '../../src/eval/compare.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { loadModel, saveModel } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { InterruptedError } from '../../src/util/errors.ts'
import { errorOf } from '../support/errors.ts'
import { writeNpy } from '../support/npy.ts'
import { readSafetensors } from '../support/safetensors.ts'
import { MODELS, type Reference } from '../support/training.ts'

const engine = cpuEngine()

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'swa-onnx-'))
  try {
    await work(folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** The reference's batch as a data set. */
async function referenceData(name: string, folder: string): Promise<void> {
  const tensors = readSafetensors(join(MODELS, name, 'reference.safetensors'))
  await writeNpy(join(folder, 'x.npy'), tensors.get('input/input')!)
  await writeNpy(join(folder, 'y.npy'), tensors.get('target')!)
}

for (const name of readdirSync(MODELS)) {
  test(`${name}: the loss is PyTorch's, whatever the form of the export and the batch size`, () =>
    inFolder(async data => {
      await referenceData(name, data)
      const reference = JSON.parse(readFileSync(join(MODELS, name, 'reference.json'), 'utf8')) as Reference
      const models = [join(MODELS, name, 'model.onnx')]
      const { models: results } = await evaluateModels(engine, { models, data, batchSize: 3, threads: 1 })
      const { metrics } = results[0]!
      assert.is(metrics.samples, 8)
      const error = Math.abs(metrics.loss - reference.loss_eval)
      assert.ok(error < 1e-5, `${metrics.loss} is not ${reference.loss_eval}`)
    }))
}

test('a model that insists on its batch size is measured on every sample once', () =>
  inFolder(async data => {
    const name = 'bn_cnn-ts'
    await referenceData(name, data)
    const [open, fixed] = [join(MODELS, name, 'model.onnx'), join(data, 'fixed.onnx')]
    const file = await loadModel(open)
    const [input] = file.model.graph.feeds
    if (input?.type?.kind === 'tensor') input.type = { ...input.type, shape: [5, 1, 14, 14] }
    file.model.graph.outputs[0]!.type = null
    await saveModel(file.model, fixed)
    await file.close()
    const models = [open, fixed]
    const { models: results, best } = await evaluateModels(engine, { models, data, batchSize: 8, threads: 1 })
    const [a, b] = results.map(({ metrics }) => metrics)
    assert.equal([b!.samples, b!.top1], [8, a!.top1])
    assert.ok(Math.abs(a!.loss - b!.loss) < 1e-6, `${a!.loss} is not ${b!.loss}`)
    assert.ok(best === open || best === fixed)
  }))

test('targets of another size than the output are refused', () =>
  inFolder(async data => {
    await referenceData('bn_cnn-ts', data)
    await writeNpy(join(data, 'y.npy'), Tensor.of('float32', [8, 2], new Float32Array(16).fill(0.5)))
    const models = [join(MODELS, 'bn_cnn-ts/model.onnx')]
    const error = await errorOf(evaluateModels(engine, { models, data, batchSize: 8, threads: 1 }))
    assert.is(error.message, 'evaluate: the model gives 10 values for each sample, the data have 2 targets')
  }))

test('fewer classes than outputs are remarked on', () =>
  inFolder(async data => {
    await referenceData('bn_cnn-ts', data)
    await writeNpy(join(data, 'y.npy'), Tensor.of('int32', [8], [0, 1, 2, 0, 1, 2, 0, 1]))
    const models = [join(MODELS, 'bn_cnn-ts/model.onnx')]
    const { notes } = await evaluateModels(engine, { models, data, batchSize: 8, threads: 1 })
    assert.match(notes.join('\n'), 'has 3 classes, ')
    assert.match(notes.join('\n'), 'output 0 is taken for "0" and so on')
  }))

test('an abort ends an evaluation with its own exit code', () =>
  inFolder(async data => {
    await referenceData('bn_cnn-ts', data)
    const models = [join(MODELS, 'bn_cnn-ts/model.onnx')]
    const signal = AbortSignal.abort(new InterruptedError('interrupted'))
    const options = { models, data, batchSize: 2, threads: 1 }
    assert.is((await errorOf(evaluateModels(engine, options, { signal }))).exitCode, 130)
  }))

test.run()
