/** Runs that start with a new classifier: what changes, what stays, how they resume. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Model } from '../../src/ir/graph.ts'
import { findHead, withoutFunctions } from '../../src/passes/index.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { loadModel, saveModel } from '../../src/serde/index.ts'
import type { Dataset } from '../../src/data/index.ts'
import { finetune } from '../../src/train/finetune.ts'
import { headWeightNames, planHead, withNewHead } from '../../src/train/head.ts'
import type { FinetuneOptions } from '../../src/train/options.ts'
import type { LossSettings } from '../../src/train/task.ts'
import { InterruptedError } from '../../src/util/errors.ts'
import { swa } from '../cli/support/cli.ts'
import { buildModel, randoms } from '../passes/support/build.ts'
import { withFunctions } from '../passes/support/functions.ts'
import { runModel } from '../passes/support/run.ts'
import { writeDigits } from '../support/digits.ts'
import { errorOf } from '../support/errors.ts'
import { PLAIN_RUN } from '../support/plain-run.ts'

const MODEL = join(import.meta.dirname, '../../fixtures/demo/digits_cnn.onnx')
const folder = mkdtempSync(join(tmpdir(), 'swa-head-'))
const data = writeDigits(join(folder, 'data'), 200)

const OPTIONS: FinetuneOptions = {
  ...PLAIN_RUN,
  ...{ model: MODEL, data, run: join(folder, 'run'), epochs: 2 },
  head: 'reinit',
  numClasses: 12,
}

async function weightsOf(path: string): Promise<Map<string, string>> {
  const file = await loadModel(path)
  const weights = new Map<string, string>()
  for (const { name, tensor } of file.model.graph.initializers)
    weights.set(name, Buffer.from(await (await tensor!.load()).bytes()).toString('base64'))
  await file.close()
  return weights
}

const headNames = async (path: string) => {
  const file = await loadModel(path)
  const names = headWeightNames(file.model, { classes: 12 }, OPTIONS.settings)
  await file.close()
  return names
}

test('the command: a head of 12 classes trains alone under --freeze "*", which is said', async () => {
  const run = join(folder, 'command')
  const args = ['finetune', MODEL, '--data', data, '--run', run, '--epochs', '1', '--batch-size', '32']
  const more = [
    '--head',
    'reinit',
    '--num-classes',
    '12',
    '--freeze',
    '*',
    '--bn',
    'frozen',
    '--engine',
    'cpu',
  ]
  const first = await swa(...args, ...more)
  assert.is(first.code, 0, first.stderr)
  assert.match(first.stderr, /new head: Gemm .* 10 classes before/)
  assert.match(first.stderr, /the new head trains although --freeze "\*" matches/)
  const [given, start, made] = await Promise.all(
    [MODEL, join(run, 'start.onnx'), join(run, 'averaged.onnx')].map(weightsOf),
  )
  const head = await headNames(MODEL)
  const changed = (a: Map<string, string>, b: Map<string, string>) =>
    [...a.keys()].filter(key => a.get(key) !== b.get(key))
  assert.equal(changed(given!, start!).sort(), [...head].sort())
  assert.equal(changed(start!, made!).sort(), [...head].sort())
  const file = await loadModel(join(run, 'model.onnx'))
  assert.is(findHead(file.model).classes, 12)
  await file.close()
  // The same command finds it done, and another number of classes is another run.
  const again = await swa(...args, ...more)
  assert.is(again.code, 0, again.stderr)
  assert.equal(await weightsOf(join(run, 'averaged.onnx')), made)
  const other = await swa(...args, ...more.map(arg => (arg === '12' ? '11' : arg)))
  assert.is(other.code, 2, other.stderr)
  assert.match(other.stderr, /head\.classes/)
})

test('interrupted and resumed, it ends with the same bytes', async () => {
  const silent = { onEvent: () => undefined }
  const whole = await finetune(cpuEngine(), { ...OPTIONS, run: join(folder, 'whole') }, silent)
  const run = join(folder, 'resumed')
  const controller = new AbortController()
  const error = await errorOf(
    finetune(
      cpuEngine(),
      { ...OPTIONS, run },
      {
        signal: controller.signal,
        onEvent: event => {
          if (event.kind === 'validated' && event.step > 0)
            controller.abort(new InterruptedError('interrupted'))
        },
      },
    ),
  )
  assert.is(error.exitCode, 130)
  const resumed = await finetune(cpuEngine(), { ...OPTIONS, run }, silent)
  for (const name of ['start.onnx', 'averaged.onnx', 'last.onnx'])
    assert.ok(readFileSync(join(run, name)).equals(readFileSync(join(whole.run, name))), name)
  assert.equal(
    resumed.candidates.map(({ metrics }) => metrics),
    whole.candidates.map(({ metrics }) => metrics),
  )
})

const images = (targets: number) =>
  ({
    name: 'data',
    classes: ['a', 'b', 'c'],
    targets: Array.from({ length: targets }, (_, i) => ({ name: String(i) })),
  }) as unknown as Dataset
const settings = (loss: LossSettings['loss']): LossSettings & { patterns: object } => ({
  ...{ loss, labelSmoothing: 0, ignoreIndex: -100, patterns: {} },
})

test('an auxiliary head of the same target gets a new one too; one of values stays', async () => {
  const model = buildModel({
    inputs: { x: [2, 4] },
    weights: { w: randoms([4, 10]), a: randoms([4, 10], 2), box: randoms([4, 10], 3) },
    nodes: [
      ['MatMul', ['x', 'box'], ['boxes']],
      ['MatMul', ['x', 'w'], ['logits']],
      ['MatMul', ['x', 'a'], ['aux']],
    ],
    outputs: ['boxes', 'logits', 'aux'],
  })
  const asked = settings([
    { kind: 'smooth-l1', output: 'boxes' },
    { kind: 'cross-entropy', output: 'logits' },
    { kind: 'cross-entropy', output: 'aux', target: 'logits', weight: 0.3 },
  ])
  const head = planHead(model, images(2), { head: 'reinit' }, asked)!
  assert.equal(head, { classes: 3, outputs: ['logits', 'aux'] })
  assert.equal(headWeightNames(model, head, asked), ['w', 'a'])
  const { model: made } = await withNewHead(model, {
    head,
    seed: 1,
    settings: asked,
    train: { classes: null },
  })
  assert.equal(await dimsOf(made), { boxes: [2, 10], logits: [2, 3], aux: [2, 3] })
})

test('a head inside a local function: the calls are written out, which is said; one outside leaves them', async () => {
  const linear = {
    name: 'Linear',
    body: { inputs: { a: [], w: [] }, nodes: [['MatMul', ['a', 'w'], ['out']]] as const, outputs: ['out'] },
  }
  const model = (last: string) =>
    withFunctions(
      {
        inputs: { x: [2, 4] },
        weights: { w: randoms([4, 4]), 'fc.weight': randoms([4, 10], 2) },
        nodes: [
          ['local::Linear', ['x', 'w'], ['h']],
          [last, ['h', 'fc.weight'], ['y']],
        ],
        outputs: ['y'],
      },
      [linear],
    )
  const asked = settings('auto')
  for (const [last, functions, notes] of [
    ['local::Linear', 0, 1],
    ['MatMul', 1, 0],
  ] as const) {
    const head = planHead(model(last), images(1), { head: 'reinit' }, asked)!
    const plan = { head, seed: 1, settings: asked, train: { classes: null } }
    const made = await withNewHead(model(last), plan)
    assert.is(made.model.functions.length, functions)
    assert.is(
      made.notes.filter(note => note.startsWith('the local functions of the model are written out')).length,
      notes,
    )
    assert.equal(headWeightNames(made.model, head, asked), ['fc.weight'])
    assert.equal(await dimsOf(made.model), { y: [2, 3] })
    // Through a file, as a run does it.
    const path = join(folder, 'functions.onnx')
    await saveModel(made.model, path)
    const file = await loadModel(path)
    assert.is(findHead(withoutFunctions(file.model)).classes, 3)
    await file.close()
  }
})

async function dimsOf(model: Model): Promise<Record<string, readonly number[]>> {
  const outputs = await runModel(model, new Map([['x', randoms([2, 4], 5)]]))
  return Object.fromEntries([...outputs].map(([name, { dims }]) => [name, [...dims]]))
}

test.after(() => {
  rmSync(folder, { recursive: true, force: true })
})

test.run()
