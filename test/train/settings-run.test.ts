/** Whole runs with phases, accumulation, a moving average and early stopping: what they leave, and resuming them. */

import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { loadModel } from '../../src/serde/index.ts'
import type { Tensor } from '../../src/tensor/tensor.ts'
import { finetune, planRun } from '../../src/train/finetune.ts'
import type { FinetuneEvent, FinetuneOptions } from '../../src/train/options.ts'
import { InterruptedError } from '../../src/util/errors.ts'
import { writeDigits } from '../support/digits.ts'
import { errorOf } from '../support/errors.ts'
import { readSafetensors } from '../support/safetensors.ts'

const MODEL = join(import.meta.dirname, '../../fixtures/demo/digits_cnn.onnx')
const folder = mkdtempSync(join(tmpdir(), 'swa-settings-'))
const data = writeDigits(join(folder, 'data'), 80)
const silent = { onEvent: () => undefined }

/** 64 training samples: 16 batches of 4, five steps of three in an epoch, one batch left over. */
const OPTIONS: FinetuneOptions = {
  model: MODEL,
  data,
  dataOptions: { holdOut: 0.2, seed: 0 },
  augment: {},
  run: join(folder, 'run'),
  epochs: 4,
  batchSize: 4,
  seed: 1,
  schedule: {
    lr: 0.01,
    stepping: 'batch',
    base: { kind: 'constant' },
    swa: { start: '2ep', rate: { kind: 'constant', lr: 0.005 }, every: '5ba' },
  },
  settings: {
    optimizer: { kind: 'adamw', beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 },
    loss: 'auto',
    labelSmoothing: 0,
    ignoreIndex: -100,
    batchNorm: 'train',
    bnMode: 'exact',
    dropout: true,
    select: 'ema',
    patterns: {},
    accumulate: 3,
    clip: { kind: 'norm', limit: 1 },
    ema: { decay: 0.9, warmup: false },
    headOnly: { over: '1ep', also: [] },
    layerDecay: 0.9,
  },
  evalEvery: '1ep',
  threads: 1,
}

/** Every file of a run but the metrics log, whose lines carry the time of day. */
function filesOf(run: string): Record<string, string> {
  const files = readdirSync(run, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
  const paths = files.map(entry => join(entry.parentPath, entry.name)).filter(path => !/jsonl$/.test(path))
  const hash = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex')
  return Object.fromEntries(paths.sort().map(path => [relative(run, path), hash(path)]))
}

function linesOf(run: string): { split: string; step: number; metrics: Record<string, number> }[] {
  const lines = readFileSync(join(run, 'metrics.jsonl'), 'utf8').trim().split('\n')
  return lines.map(line => ({ ...(JSON.parse(line) as ReturnType<typeof linesOf>[number]), ts: 0 }))
}

async function weightsOf(path: string): Promise<Map<string, Tensor>> {
  const file = await loadModel(path)
  try {
    const named = file.model.graph.initializers.map(
      async ({ name, tensor }) => [name, await tensor!.load()] as const,
    )
    return new Map(await Promise.all(named))
  } finally {
    await file.close()
  }
}

test('a run with all of it: files, log, plan', async () => {
  const events: FinetuneEvent[] = []
  const result = await finetune(cpuEngine(), OPTIONS, { onEvent: event => events.push(event) })
  assert.is(result.steps, 20)
  assert.equal(result.snapshots, [15, 20])
  assert.equal(
    result.candidates.map(({ name }) => name),
    ['start', 'last', 'best', 'ema', 'swa'],
  )
  assert.is(result.selected, 'ema')
  const steps = events.flatMap(event => (event.kind === 'step' ? event.step : []))
  assert.equal(steps, [...Array.from({ length: 20 }, (_, i) => i + 1)])
  const trained = linesOf(OPTIONS.run).filter(({ split }) => split === 'train')
  assert.equal(
    trained.map(({ step }) => step),
    [5, 10, 15, 20],
  )
  assert.ok(trained.every(({ metrics }) => metrics['grad_norm']! > 0))
  const plan = await planRun(cpuEngine(), OPTIONS)
  assert.is(plan.headOnly!.steps, 5)
  const late = plan.groups.filter(({ after }) => after === 5).flatMap(({ parameters }) => parameters)
  assert.equal(
    plan.headOnly!.weights.filter(name => late.includes(name)),
    [],
  )
  assert.ok(plan.groups.some(({ lr }) => lr < 1))
})

test('while the head trains alone, nothing else moves', async () => {
  const run = join(folder, 'head')
  const swa = { start: '0ba', rate: { kind: 'base' }, every: '5ba' } as const
  const { headOnly } = await planRun(cpuEngine(), OPTIONS)
  await finetune(cpuEngine(), { ...OPTIONS, run, epochs: 1, schedule: { ...OPTIONS.schedule, swa } }, silent)
  const [before, after] = [await weightsOf(MODEL), await weightsOf(join(run, 'last.onnx'))]
  const moved = [...before].flatMap(([name, tensor]) =>
    Buffer.from(tensor.data as Uint8Array).equals(Buffer.from(after.get(name)!.data as Uint8Array))
      ? []
      : name,
  )
  assert.equal(moved.sort(), [...headOnly!.weights].sort())
})

test('interrupted in the middle of a step, at the end of a phase and after it, a run ends with the same bytes', async () => {
  const run = join(folder, 'interrupted')
  const options = { ...OPTIONS, run }
  // Steps of the event after which the run is interrupted; what is in flight lands within steps.
  for (const step of [2, 5, 8, 17]) {
    const controller = new AbortController()
    const error = await errorOf(
      finetune(cpuEngine(), options, {
        signal: controller.signal,
        onEvent: event => {
          if (event.kind === 'step' && event.step === step)
            controller.abort(new InterruptedError('interrupted'))
        },
      }),
    )
    assert.is(error.exitCode, 130)
    assert.match(error.message, /^training was interrupted after step \d+ of 20; its state is saved$/)
  }
  const saved = readdirSync(join(run, 'state')).flatMap(name => /^manifest-(\d+)/.exec(name)?.[1] ?? [])
  assert.ok(
    saved.some(batches => Number(batches) % 3 !== 0),
    `saved after batches ${saved.join(', ')}`,
  )
  await finetune(cpuEngine(), options, silent)
  const ended = (of: string) => {
    // Which states were saved on the way differs.
    const files = Object.entries(filesOf(of)).filter(([name]) => !/^state\/.*-(?!60\b)\d+\./.test(name))
    return Object.fromEntries(files)
  }
  assert.equal(ended(run), ended(OPTIONS.run))
  assert.equal(linesOf(run), linesOf(OPTIONS.run))
})

test('without improvement the SWA phase comes forward, and a resumed run remembers it', async () => {
  const frozen = { batchNorm: 'frozen', headOnly: null } as const
  const settings = { ...OPTIONS.settings, ...frozen, select: 'swa' as const, patience: 2 }
  // A rate at which nothing is learned: every validation after the first is a miss.
  const schedule = { ...OPTIONS.schedule, lr: 1e-30, swa: { ...OPTIONS.schedule.swa!, start: '5ep' } }
  const options = { ...OPTIONS, run: join(folder, 'early'), epochs: 7, settings, schedule }
  const notes: string[] = []
  const controller = new AbortController()
  const note = (event: FinetuneEvent) => {
    if (event.kind === 'note') notes.push(event.message)
    if (event.kind === 'step' && event.step === 18) controller.abort(new InterruptedError('interrupted'))
  }
  const error = await errorOf(finetune(cpuEngine(), options, { onEvent: note, signal: controller.signal }))
  assert.match(error.message, /^training was interrupted after step \d+ of 25;/)
  const said =
    'early stop after step 15: 2 validations without improvement; the SWA phase begins now, and the run ends after step 25 instead of 35'
  assert.ok(notes.includes(said), notes.join('\n'))
  const result = await finetune(cpuEngine(), options, silent)
  assert.is(result.steps, 25)
  assert.equal(result.snapshots, [20, 25])
})

test('settings that cannot be are refused before anything is trained', async () => {
  const refused = async (settings: Partial<FinetuneOptions['settings']>, holdOut = 0.2) => {
    const options = {
      ...OPTIONS,
      settings: { ...OPTIONS.settings, ...settings },
      dataOptions: { holdOut, seed: 0 },
    }
    return (await errorOf(planRun(cpuEngine(), options))).message
  }
  assert.is(await refused({ ema: null }), '--select ema: the run keeps no moving average')
  assert.is(
    await refused({ patience: 3, select: 'swa' }, 0),
    '--patience: there are no validation data to stop by',
  )
  assert.is(
    await refused({ patience: 0 }),
    '--patience: expected a positive whole number of validations, found 0',
  )
  assert.is(await refused({ accumulate: 0 }), '--accumulate: expected a positive whole number, found 0')
  assert.match(await refused({ accumulate: 17 }), /has 64 samples, expected at least 17 batches of 4$/)
  assert.match(await refused({ headOnly: { over: '9ep', also: [] } }), /^--head-only: 9ep is batch 45/)
})

test('another setting in the same folder is refused with the difference', async () => {
  const settings = { ...OPTIONS.settings, accumulate: 1, layerDecay: 1 }
  const error = await errorOf(finetune(cpuEngine(), { ...OPTIONS, settings }, silent))
  assert.match(error.message, /settings\.accumulate: was 3, now 1/)
  assert.match(error.message, /settings\.layerDecay: was 0\.9, now 1/)
})

test('the state holds what the settings carry', () => {
  const tensors = readSafetensors(join(OPTIONS.run, 'state', 'tensors-60.safetensors'))
  assert.equal([...tensors.keys()].sort(), ['accumulated', 'bn', 'ema', 'exp_avg', 'exp_avg_sq', 'theta'])
})

test.after(() => {
  rmSync(folder, { recursive: true, force: true })
})

test.run()
