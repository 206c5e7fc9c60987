/** Half-precision models train with float32 masters and are written back in their own type. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { evaluateModels } from '../../src/eval/compare.ts'
import { findBatchNorms, findHead } from '../../src/passes/index.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { deserializeModel, loadModel, openSafetensors, saveModel } from '../../src/serde/index.ts'
import { numberToFloat16 } from '../../src/tensor/dtype.ts'
import { fromFloat32Tensor } from '../../src/tensor/convert.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { finetune } from '../../src/train/finetune.ts'
import type { FinetuneOptions } from '../../src/train/options.ts'
import { initialState } from '../../src/train/initial-state.ts'
import { prepareTraining } from '../../src/train/prepare.ts'
import { buildProgram } from '../../src/train/program.ts'
import { writeDigits } from '../support/digits.ts'
import { toHalf } from '../support/half.ts'
import { MODELS, PLAIN_SGD } from '../support/training.ts'
import { PLAIN_RUN } from '../support/plain-run.ts'

const ROOT = join(import.meta.dirname, '../..')
const folder = mkdtempSync(join(tmpdir(), 'swa-half-'))
const data = writeDigits(join(folder, 'data'), 400)

const OPTIONS: Omit<FinetuneOptions, 'model' | 'run'> = { ...PLAIN_RUN, data, epochs: 3 }

const silent = { onEvent: () => undefined }

for (const dtype of ['float16', 'bfloat16'] as const) {
  test(`${dtype}: the program is that of the float32 model of the same numbers`, async () => {
    const bytes = readFileSync(join(MODELS, 'bn_cnn-ts/model.onnx'))
    const engine = cpuEngine()
    const losses: number[] = []
    for (const keepFloat32 of [false, true]) {
      const model = await toHalf(await deserializeModel(bytes), dtype, keepFloat32)
      const graph = await prepareTraining(engine, model, { batchSize: 4 })
      const training = buildProgram(graph, {
        loss: { kind: 'cross-entropy' },
        optimizer: PLAIN_SGD,
        batchNorm: 'train',
        dropout: false,
      })
      assert.ok(graph.inputs.every(input => input.dtype === 'float32'))
      const trainer = await engine.openTrainer(training.program, { threads: 1 })
      try {
        await trainer.writeState(await initialState(graph, training))
        for (let step = 0; step < 3; step++) {
          const x = graph.inputs[0]!
          const size = x.shape.reduce((a, b) => a * b, 1)
          const feeds = new Map([
            [
              x.name,
              Tensor.of(
                'float32',
                x.shape,
                Float32Array.from({ length: size }, (_, i) => Math.sin(i * 7 + step)),
              ),
            ],
            [training.targets[0]!.name, Tensor.of('int64', [4], [0n, 1n, 2n, 3n])],
            ...training.scalarInputs.map(name => [name, Tensor.scalar('float32', 0.1)] as const),
          ])
          losses.push((await trainer.steps([feeds]))[0]!.get('loss')!)
        }
      } finally {
        await trainer.close()
      }
    }
    assert.equal(losses.slice(0, 3), losses.slice(3))
  })
}

test('a run on a float16 file: evaluated, averaged and recalibrated, every weight rounded once', async () => {
  const file = await loadModel(join(ROOT, 'fixtures/demo/digits_cnn.onnx'))
  const model = join(folder, 'half.onnx')
  await saveModel(await toHalf(file.model, 'float16'), model)
  await file.close()
  const run = join(folder, 'run')
  const result = await finetune(cpuEngine(), { ...OPTIONS, model, run }, silent)
  assert.ok(result.candidates.find(({ name }) => name === 'swa')!.metrics!.top1! > 0.5)
  assert.ok(result.recalibrated!.sites > 0)

  const snapshots = []
  for (const step of result.snapshots) {
    const snapshot = await openSafetensors(join(run, 'snapshots', `step-${step}.safetensors`))
    snapshots.push(
      new Map(
        await Promise.all(
          [...snapshot.tensors].map(async ([name, t]) => [name, (await t.load()).toNumbers()] as const),
        ),
      ),
    )
    assert.ok(
      [...snapshot.tensors.values()].every(({ dtype }) => dtype === 'float32'),
      'masters are float32',
    )
    await snapshot.close()
  }
  const averaged = await loadModel(join(run, 'averaged.onnx'))
  const { weight } = findHead(averaged.model).layers[0]!
  assert.is(weight.tensor!.dtype, 'float16')
  // The mean of two float32 numbers is exact in float64, so this is one rounding.
  assert.is(snapshots.length, 2)
  const [a, b] = snapshots.map(snapshot => snapshot.get(weight.name)!)
  const expected = a!.map((value, i) => numberToFloat16((value + b![i]!) / 2))
  assert.equal([...((await weight.tensor!.load()).view() as Uint16Array)], expected)
  const [input, given] = [averaged.model.graph.inputs[0]!, file.model.graph.inputs[0]!]
  assert.is(input.dtype, 'float16')
  assert.equal(input.type, given.type)
  await averaged.close()
})

test('a run on a bfloat16 file: evaluated and recalibrated in float32, which is said, and written back', async () => {
  const file = await loadModel(join(ROOT, 'fixtures/demo/digits_cnn.onnx'))
  const model = join(folder, 'brain.onnx')
  await saveModel(await toHalf(file.model, 'bfloat16'), model)
  await file.close()
  const notes: string[] = []
  const result = await finetune(
    cpuEngine(),
    { ...OPTIONS, epochs: 2, model, run: join(folder, 'brain') },
    { onEvent: event => event.kind === 'note' && notes.push(event.message) },
  )
  assert.is(notes.filter(note => note.includes('bfloat16')).length, 1)
  assert.ok(result.recalibrated!.sites > 0)
  const swa = result.candidates.find(({ name }) => name === 'swa')!
  assert.ok(swa.metrics!.top1! > 0.5)
  const averaged = await loadModel(swa.path)
  const { weight } = findHead(averaged.model).layers[0]!
  const { mean } = findBatchNorms(averaged.model)[0]!
  assert.equal([weight.tensor!.dtype, mean.tensor!.dtype], ['bfloat16', 'bfloat16'])
  // The float32 model of the same numbers, on the same samples, through the public way.
  const float = join(folder, 'float.onnx')
  await saveModel(await toHalf(averaged.model, 'bfloat16', true), float)
  await averaged.close()
  const { models, notes: said } = await evaluateModels(cpuEngine(), {
    ...{ models: [swa.path, float], data, batchSize: 32, dataOptions: { limit: 64 } },
  })
  assert.equal(models[0]!.metrics, models[1]!.metrics)
  assert.is(said.filter(note => note.startsWith(`${swa.path}: the model is of bfloat16`)).length, 1)
})

test('a number that float16 cannot hold is refused by name; ties round to even', () => {
  const tensor = Tensor.of('float32', [2], [1, 70000])
  assert.throws(
    () => fromFloat32Tensor(tensor, 'float16', 'fc.weight'),
    (error: Error) =>
      error.message === 'tensor "fc.weight" float16[2]: element 1 is 70000, beyond the largest float16',
  )
  // Halfway between 1 and the next float16 (1 + 2^-10), and between that and the one after.
  const ties = Tensor.of('float32', [2], [1 + 2 ** -11, 1 + 3 * 2 ** -11])
  assert.equal(fromFloat32Tensor(ties, 'float16', 'w').toNumbers(), [1, 1 + 2 ** -9])
})

test.after(() => {
  rmSync(folder, { recursive: true, force: true })
})

test.run()
