import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { fittingBatchSize } from '../../src/eval/calibrate.ts'
import { recalibrateModel } from '../../src/eval/recalibrate-model.ts'
import { findBatchNorms } from '../../src/passes/index.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { loadModel, saveModel } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import { relativeError } from '../support/close.ts'
import { writeNpy } from '../support/npy.ts'
import { MODELS } from '../support/training.ts'

const MODEL = join(MODELS, 'bn_cnn-ts/model.onnx')
const SAMPLES = 33

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'swa-onnx-'))
  try {
    await work(folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}

/** Samples sorted by class, whose classes differ in brightness: batches in order would not look like the data. */
async function sortedData(folder: string): Promise<void> {
  const random = Random.of(7)
  const labels = Array.from({ length: SAMPLES }, (_, i) => Math.floor(i / 11))
  const pixels = labels.flatMap(label => Array.from({ length: 196 }, () => random.normal() + 3 * label))
  await writeNpy(join(folder, 'x.npy'), Tensor.of('float32', [SAMPLES, 1, 14, 14], pixels))
  await writeNpy(join(folder, 'y.npy'), Tensor.of('int32', [SAMPLES], labels))
}

const recalibrated = (model: string, data: string, out: string, batchSize: number, seed = 0) =>
  recalibrateModel(cpuEngine(), {
    ...{ model, data, out, mode: 'exact', batchSize, threads: 1 },
    dataOptions: { seed },
  })

async function statisticsOf(path: string): Promise<number[][]> {
  const file = await loadModel(path)
  try {
    const sites = findBatchNorms(file.model)
    const tensors = sites.flatMap(({ mean, variance }) => [mean.tensor!, variance.tensor!])
    return await Promise.all(tensors.map(async tensor => (await tensor.load()).toNumbers()))
  } finally {
    await file.close()
  }
}

test('the first statistics are those of all samples, the last batch is never a single one', () =>
  inFolder(async data => {
    await sortedData(data)
    const out = join(data, 'out.onnx')
    const report = await recalibrated(MODEL, data, out, 16)
    assert.equal([report.samples, report.batchSize, report.sites.length], [SAMPLES, 15, 3])
    assert.match(report.notes.join('\n'), 'batches of 15, so that the last one is not a single sample')
    const whole = join(data, 'whole.onnx')
    await recalibrated(MODEL, data, whole, SAMPLES)
    const [a, b] = [await statisticsOf(out), await statisticsOf(whole)]
    for (const i of [0, 1]) assert.ok(relativeError(a[i]!, b[i]!) < 1e-6, `tensor ${i}`)
    // Later layers see their inputs normalised batch by batch, so they agree only as far as batches look like the data.
    for (const i of [2, 3, 4, 5]) assert.ok(relativeError(a[i]!, b[i]!) < 0.3, `tensor ${i}`)
  }))

test('the same seed gives the same bytes', () =>
  inFolder(async data => {
    await sortedData(data)
    const paths = ['a', 'b', 'c'].map(name => join(data, `${name}.onnx`))
    for (const [i, seed] of [1, 1, 2].entries()) await recalibrated(MODEL, data, paths[i]!, 8, seed)
    const [a, b, c] = await Promise.all(paths.map(path => readFile(path)))
    assert.equal(a, b)
    assert.not.equal(a, c)
  }))

test('a model made for single samples is recalibrated in batches all the same', () =>
  inFolder(async data => {
    await sortedData(data)
    const file = await loadModel(MODEL)
    for (const value of [...file.model.graph.inputs, ...file.model.graph.outputs]) {
      if (value.type?.kind === 'tensor' && value.type.shape)
        value.type = { ...value.type, shape: [1, ...value.type.shape.slice(1)] }
    }
    const fixed = join(data, 'fixed.onnx')
    await saveModel(file.model, fixed)
    await file.close()
    const [out, expected] = [join(data, 'out.onnx'), join(data, 'expected.onnx')]
    const report = await recalibrated(fixed, data, out, 11)
    assert.match(report.notes.join('\n'), 'made for batches of 1')
    await recalibrated(MODEL, data, expected, 11)
    assert.equal(await statisticsOf(out), await statisticsOf(expected))
    const written = await loadModel(out)
    assert.match(written.model.graph.inputs[0]!.toString(), '[1,1,14,14]')
    await written.close()
  }))

test('batch sizes that fit', () => {
  const rows = [
    [100, 32, 32],
    [97, 32, 31],
    [33, 32, 31],
    [5, 32, 5],
    [3, 2, 3],
    [7, 2, 4],
    [7, 1, 1],
    [1, 8, 1],
  ] as const
  for (const [samples, wanted, expected] of rows) {
    assert.is(fittingBatchSize(samples, wanted), expected, `${samples} by ${wanted}`)
  }
})

test.run()
