/** The commands on a real model that others made, with rendered text lines as data. */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { EvaluationReport } from '../../src/eval/compare.ts'
import type { Inspection } from '../../src/eval/inspect.ts'
import type { RecalibratedModel } from '../../src/eval/recalibrate-model.ts'
import { printGraph } from '../../src/ir/print.ts'
import { findBatchNorms, tensorOf, weightOrigins } from '../../src/passes/index.ts'
import { loadModel } from '../../src/serde/index.ts'
import type { FinetuneResult } from '../../src/train/finish.ts'
import type { MetricsLine } from '../../src/train/metrics-log.ts'
import { CLASSIFIER, inFolder, json, LINES, renderLines, ROOT, swa } from './support/cli.ts'

test('inspect shows operators, weights in Constant nodes, batch norms and the Softmax before the output', async () => {
  const found = await json<Inspection>('inspect', CLASSIFIER)
  assert.is(found.opset, 9)
  assert.equal(found.outputs, [{ name: 'softmax_0.tmp_0', type: 'float32[p2o.DynamicDimension.3,2]' }])
  assert.is(found.batchNorm.state, 'present')
  assert.is(found.batchNorm.sites.length, 35)
  assert.is(found.operators.find(({ operator }) => operator === 'Conv')?.count, 53)
  assert.is(found.weights.length, 250)
  assert.ok(found.weights.every(({ storage, external }) => storage === 'constant-node' && !external))
  assert.is(found.weights.filter(({ role }) => role === 'buffer').length, 70)
  assert.equal([found.parameters.trainable, found.parameters.tensors], [129356, 143])
  assert.is(found.prediction?.activation, 'softmax')
  assert.equal(found.obstacles, [])
})

test('inspect --weights gives every tensor with its reason, patterns included', async () => {
  const { code, stdout, stderr } = await swa('inspect', '--freeze', 'batch_norm_0.*', CLASSIFIER, '--weights')
  assert.is(code, 0, stderr)
  assert.match(stdout, /batch_norm_0\.w_0 +float32\[8\] +frozen +scale of .*--freeze "batch_norm_0\.\*"/)
  assert.match(stdout, /batch_norm_0\.w_1 +float32\[8\] +buffer +running mean of/)
  assert.match(stdout, 'nothing keeps it from being fine-tuned')
  assert.is(stderr, '')
})

test('recalibrate writes a model that differs in statistics and metadata only; evaluate compares both', () =>
  inFolder(async folder => {
    const data = await renderLines(join(folder, 'lines'), 12)
    const out = join(folder, 'recalibrated.onnx')
    const report = await json<RecalibratedModel>(
      'recalibrate',
      CLASSIFIER,
      '--data',
      data,
      '-o',
      out,
      ...LINES,
    )
    assert.equal([report.samples, report.sites.length, report.mode], [24, 35, 'exact'])
    await differInStatisticsOnly(join(ROOT, CLASSIFIER), out)

    const {
      models,
      best,
      data: measured,
    } = await json<EvaluationReport>(
      ...['evaluate', CLASSIFIER, out, '--data', data, '--batch-size', '7', ...LINES],
    )
    assert.equal(measured, { name: data, samples: 24, classes: ['0', '180'] })
    assert.equal(
      models.map(({ model, task, kind }) => [model, task, kind]),
      [
        [CLASSIFIER, 'classification', 'probabilities'],
        [out, 'classification', 'probabilities'],
      ],
    )
    for (const { metrics } of models) {
      assert.is(metrics.samples, 24)
      assert.ok(metrics.top1! > 0.5, `top-1 ${metrics.top1!}`)
    }
    assert.ok(best === CLASSIFIER || best === out)
  }))

test('ten steps of finetune: the loss falls, and the written model differs in weights only', () =>
  inFolder(async folder => {
    const data = await renderLines(join(folder, 'lines'), 40)
    const run = join(folder, 'run')
    const lengths = [
      '--epochs',
      '5',
      '--batch-size',
      '36',
      '--swa-start',
      '3ep',
      '--anneal',
      '0ba',
      '--eval-every',
      '5ep',
    ]
    const rates = ['--optimizer', 'adamw', '--lr', '5e-4', '--bn', 'frozen']
    const { steps, model } = await json<FinetuneResult>(
      ...[
        'finetune',
        CLASSIFIER,
        '--engine',
        'cpu',
        '--data',
        data,
        '--run',
        run,
        ...lengths,
        ...rates,
        ...LINES,
      ],
    )
    assert.is(steps, 10)
    const log = await readFile(join(run, 'metrics.jsonl'), 'utf8')
    const lines = log
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as MetricsLine)
    const losses = lines.filter(({ split }) => split === 'train').map(({ metrics }) => metrics.loss!)
    assert.is(losses.length, 5)
    assert.ok(losses.at(-1)! < 0.7 * losses[0]!, `losses by epoch: ${losses.join(', ')}`)
    const [a, b] = [await loadModel(join(ROOT, CLASSIFIER)), await loadModel(model)]
    try {
      assert.is(printGraph(b.model.graph), printGraph(a.model.graph))
      assert.ok([...b.model.metadata.keys()].every(key => key.startsWith('swa_onnx.')))
    } finally {
      await a.close()
      await b.close()
    }
    const { models } = await json<EvaluationReport>('evaluate', model, '--data', data, ...LINES)
    assert.ok(Number.isFinite(models[0]!.metrics.loss))
  }))

/** Same bytes but for the elements of running statistics, and metadata at the end. */
async function differInStatisticsOnly(before: string, after: string): Promise<void> {
  const [a, b] = [await loadModel(before), await loadModel(after)]
  try {
    assert.is(printGraph(b.model.graph), printGraph(a.model.graph))
    const statistics = new Set(
      findBatchNorms(a.model).flatMap(({ mean, variance }) => [mean.name, variance.name]),
    )
    const written = [...weightOrigins(b.model.graph).keys()]
    const changed: string[] = []
    for (const [i, value] of [...weightOrigins(a.model.graph).keys()].entries()) {
      const [old, now] = [await tensorOf(value)!.bytes(), await tensorOf(written[i])!.bytes()]
      if (Buffer.compare(old, now) !== 0) changed.push(value.name)
    }
    assert.ok(changed.length > 35, `${changed.length} tensors changed`)
    assert.equal(
      changed.filter(name => !statistics.has(name)),
      [],
    )
    assert.equal(
      [...b.model.metadata.keys()],
      ['swa_onnx.version', 'swa_onnx.bn_mode', 'swa_onnx.bn_samples'],
    )
  } finally {
    await a.close()
    await b.close()
  }
  const [old, now] = [await readFile(before), await readFile(after)]
  const different = old.filter((byte, i) => byte !== now[i]).length
  assert.ok(different <= 4 * 4272, `${different} bytes before the metadata differ`)
}

test.run()
