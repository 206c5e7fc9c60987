/** Runs of mixed batches: the loss is the mixture of two cross-entropies in closed form; a share of nothing changes nothing. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { DEFAULT_SETTINGS, defaultSchedule } from '../../src/browser/options.ts'
import { ArrayDataset, type Mix } from '../../src/data/index.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { loadModel, openModelBytes, serializeModel } from '../../src/serde/index.ts'
import { finetune } from '../../src/train/finetune.ts'
import { initialState } from '../../src/train/initial-state.ts'
import { resolvePlan } from '../../src/train/plan.ts'
import { feedsFrom, openSession, stepInputs } from '../../src/train/session.ts'
import { Random } from '../../src/util/random.ts'
import { buildModel, randoms } from '../passes/support/build.ts'
import { assertClose } from '../support/close.ts'
import { writeDigits } from '../support/digits.ts'

const engine = cpuEngine()
const [SAMPLES, CHANNELS, SIDE, CLASSES] = [6, 3, 8, 4]
const SIZE = CHANNELS * SIDE * SIDE
const LABELS = [0, 3, 1, 2, 1, 0]

/** Logits: the mean over the pixels times w. */
const pooled = () =>
  buildModel({
    inputs: { x: ['n', CHANNELS, SIDE, SIDE] },
    weights: { w: randoms([CHANNELS, CLASSES], 7) },
    nodes: [
      ['GlobalAveragePool', ['x'], ['p']],
      ['Flatten', ['p'], ['f']],
      ['MatMul', ['f', 'w'], ['y']],
    ],
    outputs: ['y'],
  })

/** The first batch of a run as it is mixed and as it is not, and the loss of its step. */
async function firstBatch(mix: Mix) {
  const model = pooled()
  const random = Random.of(11)
  const data = Float32Array.from({ length: SAMPLES * SIZE }, () => random.normal())
  const dataset = new ArrayDataset(
    'made',
    [{ name: '0', dims: [SAMPLES, CHANNELS, SIDE, SIDE], data }],
    { name: 'y', dims: [SAMPLES], data: Int32Array.from(LABELS), integer: true },
    { layout: 'CHW' },
  )
  const file = await openModelBytes(await serializeModel(model), 'made.onnx')
  const run = { train: dataset, val: null, lossGraph: null }
  const plan = await resolvePlan(engine, model, { path: 'made.onnx', sha256: '' }, run, {
    ...{ epochs: 1, batchSize: SAMPLES, seed: 5, augment: {}, evalEvery: '1ep', dataOptions: {} },
    schedule: {
      ...{ lr: 0.1, stepping: 'batch', base: { kind: 'constant' } },
      swa: { start: '0ba', rate: { kind: 'base' } },
    },
    settings: { ...DEFAULT_SETTINGS, mix },
  })
  const session = await openSession(engine, file, { plan, ...run }, 1)
  try {
    await session.trainer.enter(0)
    await session.trainer.writeState(await initialState(session.graph, session.training))
    const stop = new AbortController()
    const { value } = await feedsFrom(session, 0, stop.signal).next()
    stop.abort()
    const mixed = (value!.get('x')!.view() as Float32Array).slice()
    const plain = await session.loader.batch(0, 0)
    const [step] = await session.trainer.steps([new Map([...value!, ...stepInputs(session, 1, 0.1)])])
    return {
      mixed,
      plain: plain.inputs.get('0')!.view() as Float32Array,
      labels: plain.targets.get('0')!.toNumbers(),
      loss: step!.get('loss')!,
    }
  } finally {
    await session.trainer.close()
    await file.close()
  }
}

/** Mean over the samples of share · CE(own class) + (1 − share) · CE(class of the mirrored sample). */
function mixture(x: Float32Array, labels: readonly number[], share: number): number {
  const w = randoms([CHANNELS, CLASSES], 7).toNumbers()
  let sum = 0
  for (let n = 0; n < SAMPLES; n++) {
    const means = Array.from({ length: CHANNELS }, (_, c) => {
      const start = n * SIZE + c * SIDE * SIDE
      return x.subarray(start, start + SIDE * SIDE).reduce((total, value) => total + value, 0) / SIDE ** 2
    })
    const logits = Array.from({ length: CLASSES }, (_, k) =>
      means.reduce((total, mean, c) => total + mean * w[c * CLASSES + k]!, 0),
    )
    const log = Math.log(logits.reduce((total, logit) => total + Math.exp(logit), 0))
    const entropy = (label: number) => log - logits[label]!
    sum += share * entropy(labels[n]!) + (1 - share) * entropy(labels[SAMPLES - 1 - n]!)
  }
  return sum / SAMPLES
}

/** The element of the sample at the mirrored place of the batch. */
const mirrored = (x: Float32Array, i: number) => x[(SAMPLES - 1 - Math.floor(i / SIZE)) * SIZE + (i % SIZE)]!

test('MixUp: the loss of a step is the mixture of two cross-entropies', async () => {
  const { mixed, plain, labels, loss } = await firstBatch({
    mixup: 1,
    cutmix: 0,
    probability: 1,
    switchProbability: 0,
  })
  const share = (mixed[0]! - mirrored(plain, 0)) / (plain[0]! - mirrored(plain, 0))
  assert.ok(share > 0.01 && share < 0.99, `share ${share}`)
  assertClose(
    mixed,
    plain.map((value, i) => share * value + (1 - share) * mirrored(plain, i)),
    { absolute: 1e-5 },
    'inputs',
  )
  assertClose([loss], [mixture(mixed, labels, share)], { relative: 1e-5 }, 'loss')
})

test('CutMix: the share of a class is the area that its image keeps', async () => {
  const { mixed, plain, labels, loss } = await firstBatch({
    mixup: 0,
    cutmix: 1,
    probability: 1,
    switchProbability: 0,
  })
  const pasted = mixed.filter((value, i) => value !== plain[i]).length
  assert.ok(pasted > 0 && pasted < mixed.length, `${pasted} pasted`)
  mixed.forEach((value, i) => assert.ok(value === plain[i] || value === mirrored(plain, i), `element ${i}`))
  assertClose([loss], [mixture(mixed, labels, 1 - pasted / mixed.length)], { relative: 1e-5 }, 'loss')
})

test('a run whose batches are never mixed is the run without mixing', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'swa-mixing-'))
  try {
    const data = writeDigits(join(folder, 'data'), 96)
    const weightsOf = async (name: string, mix?: Mix) => {
      const run = join(folder, name)
      const events: number[] = []
      await finetune(
        engine,
        {
          ...{ model: 'fixtures/demo/digits_cnn.onnx', data, dataOptions: { holdOut: 0 }, augment: {}, run },
          ...{ epochs: 1, batchSize: 32, seed: 1, schedule: defaultSchedule(), evalEvery: '1ep' },
          settings: { ...DEFAULT_SETTINGS, ...(mix ? { mix } : {}) },
        },
        { onEvent: event => event.kind === 'step' && events.push(event.loss) },
      )
      const file = await loadModel(join(run, 'last.onnx'))
      const weights = await Promise.all(
        file.model.graph.initializers.map(async ({ tensor }) => (await tensor!.load()).toNumbers()),
      )
      await file.close()
      return { weights: weights.flat(), losses: events }
    }
    const mix = { mixup: 0.8, cutmix: 1, switchProbability: 0.5, probability: 0 }
    const plain = await weightsOf('plain')
    const never = await weightsOf('never', mix)
    assert.is(plain.losses.length, 3)
    assertClose(never.losses, plain.losses, { relative: 1e-5 }, 'losses')
    assertClose(never.weights, plain.weights, { absolute: 1e-5, relative: 1e-4 }, 'weights')
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test.run()
