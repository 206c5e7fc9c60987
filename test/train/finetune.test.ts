/** Whole runs on a small made-up data set: what they leave on disk, how they refuse, stop and deliver. */

import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { loadModel, openSafetensors } from '../../src/serde/index.ts'
import { select } from '../../src/train/candidates.ts'
import type { Candidate } from '../../src/train/finish.ts'
import { finetune, planRun } from '../../src/train/finetune.ts'
import type { FinetuneEvent, FinetuneOptions } from '../../src/train/options.ts'
import { InterruptedError } from '../../src/util/errors.ts'
import { writeDigits } from '../support/digits.ts'
import { errorOf } from '../support/errors.ts'
import { PLAIN_RUN } from '../support/plain-run.ts'

const ROOT = join(import.meta.dirname, '../..')
const MODEL = join(ROOT, 'fixtures/demo/digits_cnn.onnx')
const folder = mkdtempSync(join(tmpdir(), 'swa-run-'))
const data = writeDigits(join(folder, 'data'), 400)

const OPTIONS: FinetuneOptions = {
  ...PLAIN_RUN,
  ...{ model: MODEL, data, run: join(folder, 'run'), epochs: 4 },
  schedule: {
    ...PLAIN_RUN.schedule,
    swa: { start: '2ep', rate: { kind: 'constant', lr: 0.02 } },
  },
}

const silent = { onEvent: () => undefined }

test('a run leaves every file of the design, and the average is the mean of its snapshots', async () => {
  const events: FinetuneEvent[] = []
  const result = await finetune(cpuEngine(), OPTIONS, { onEvent: event => events.push(event) })
  assert.equal(result.snapshots, [30, 40])
  assert.equal(
    result.candidates.map(({ name }) => name),
    ['start', 'last', 'best', 'swa'],
  )
  assert.is(result.recalibrated?.sites, 6)
  const { top1 } = result.candidates.find(({ name }) => name === 'swa')!.metrics!
  assert.ok(top1! > 0.5, `accuracy ${top1!}: ten patterns that a CNN tells apart`)
  const files = [
    'averaged.onnx',
    'average.safetensors',
    'best.onnx',
    'config.json',
    'last.onnx',
    'manifest.json',
  ]
  for (const name of [...files, 'metrics.jsonl', 'model.onnx'])
    assert.ok(readdirSync(OPTIONS.run).includes(name), name)
  assert.equal(readdirSync(join(OPTIONS.run, 'snapshots')).sort(), [
    'step-30.safetensors',
    'step-40.safetensors',
  ])
  assert.equal(
    readdirSync(OPTIONS.run).filter(name => name.startsWith('.')),
    [],
  )
  assert.is(events.filter(event => event.kind === 'step').length, 40)

  const snapshots = await Promise.all(
    [30, 40].map(step => openSafetensors(join(OPTIONS.run, 'snapshots', `step-${step}.safetensors`))),
  )
  const file = await loadModel(join(OPTIONS.run, 'averaged.onnx'))
  try {
    for (const value of file.model.graph.initializers) {
      if (/running/.test(value.name)) continue
      const [a, b] = await Promise.all(
        snapshots.map(async s => (await s.tensors.get(value.name)!.load()).toNumbers()),
      )
      const mean = (await value.tensor!.load()).toNumbers()
      // Two float32 numbers and their halved sum are exact in float64: one rounding is left.
      assert.equal(
        mean,
        a!.map((x, i) => Math.fround((x + b![i]!) / 2)),
        value.name,
      )
    }
    assert.is(file.model.metadata.get('swa_onnx.method'), 'swa')
    assert.is(file.model.metadata.get('swa_onnx.snapshots'), '[30,40]')
  } finally {
    await file.close()
    for (const snapshot of snapshots) await snapshot.close()
  }
})

test('running again trains no step and writes the same bytes', async () => {
  const before = readFileSync(join(OPTIONS.run, 'averaged.onnx'))
  const events: FinetuneEvent[] = []
  await finetune(cpuEngine(), OPTIONS, { onEvent: event => events.push(event) })
  assert.is(events.filter(event => event.kind === 'step').length, 0)
  assert.equal(readFileSync(join(OPTIONS.run, 'averaged.onnx')), before)
})

test('another plan in the same folder is refused with the difference', async () => {
  const other = { ...OPTIONS, settings: { ...OPTIONS.settings, labelSmoothing: 0.1 } }
  const error = await errorOf(finetune(cpuEngine(), other, silent))
  assert.is(error.exitCode, 2)
  assert.match(error.message, /settings\.labelSmoothing: was 0, now 0\.1/)
})

test('a plan is the same whoever makes it, and touches nothing', async () => {
  const run = join(folder, 'never')
  const plan = await planRun(cpuEngine(), { ...OPTIONS, run })
  assert.is(plan.steps, 40)
  assert.is(plan.batchesPerEpoch, 10)
  assert.not.ok(readdirSync(folder).includes('never'))
  const { path: _, ...known } = (
    JSON.parse(readFileSync(join(OPTIONS.run, 'config.json'), 'utf8')) as typeof plan
  ).model
  assert.is(known.sha256, plan.model.sha256)
})

test('with validation data of their own, all training data are trained on', async () => {
  const held = await planRun(cpuEngine(), { ...OPTIONS, run: join(folder, 'never') })
  const both = await planRun(cpuEngine(), { ...OPTIONS, run: join(folder, 'never'), val: data })
  assert.equal([held.train.length, held.val!.length], [320, 80])
  assert.equal([both.train.length, both.val!.length], [400, 400])
})

test('a learning rate that diverges is one clear error; what was saved stays', async () => {
  const { swa: _, ...rest } = OPTIONS.schedule
  const schedule = { ...rest, lr: 1e30, swa: { start: '2ep', rate: { kind: 'base' } as const } }
  const error = await errorOf(
    finetune(cpuEngine(), { ...OPTIONS, run: join(folder, 'nan'), schedule }, silent),
  )
  assert.is(error.exitCode, 3)
  assert.match(error.message, /^training: loss became NaN at step \d+$/)
  assert.match(error.cure!, /lower the learning rate/)
})

test('choosing the best without validation data is refused', async () => {
  const settings = { ...OPTIONS.settings, select: 'best' as const }
  const error = await errorOf(planRun(cpuEngine(), { ...OPTIONS, settings, dataOptions: { holdOut: 0 } }))
  assert.is(error.exitCode, 2)
  assert.is(error.message, '--select best: there are no validation data to choose by')
})

test('more classes than outputs, and batches larger than the data, are refused', async () => {
  const few = await errorOf(
    finetune(cpuEngine(), { ...OPTIONS, run: join(folder, 'x'), batchSize: 1000 }, silent),
  )
  assert.match(few.message, /has 320 samples, expected at least one batch of 1000/)
})

test('Ctrl-C saves the state and exits with 130; the same command continues', async () => {
  const run = join(folder, 'interrupted')
  const start = () => {
    const args = [
      'finetune',
      MODEL,
      '--engine',
      'cpu',
      '--data',
      data,
      '--run',
      run,
      '--epochs',
      '10',
      '--batch-size',
      '16',
      '--threads',
      '1',
    ]
    const child = spawn(process.execPath, ['--import', 'tsx', join(ROOT, 'src/cli/main.ts'), ...args], {
      cwd: ROOT,
    })
    let log = ''
    child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()))
    const ended = new Promise<number | null>(resolve => child.on('close', resolve))
    return { child, ended, log: () => log }
  }
  const first = start()
  first.child.stderr.on('data', () => {
    if (!first.child.killed && first.log().includes('step ')) first.child.kill('SIGINT')
  })
  assert.is(await first.ended, 130, first.log())
  assert.match(first.log(), /training was interrupted after step \d+ of 220; its state is saved/)
  const second = start()
  assert.is(await second.ended, 0, second.log())
  assert.match(second.log(), /resuming .* after step [1-9]/)
})

test('an abort outside the training loop says what is kept, and leaves nothing lying around', async () => {
  const run = join(folder, 'aborted')
  const controller = new AbortController()
  const reason = new InterruptedError('interrupted')
  const error = await errorOf(
    finetune(
      cpuEngine(),
      { ...OPTIONS, run },
      {
        signal: controller.signal,
        onEvent: event => {
          if (event.kind === 'progress' && event.label === 'validate swa') controller.abort(reason)
        },
      },
    ),
  )
  assert.is(error.exitCode, 130)
  assert.is(error.message, `run ${run}: interrupted; what was saved last is kept`)
  assert.equal(
    readdirSync(run).filter(name => name.startsWith('.')),
    [],
  )
})

test('an abort while a stop validates keeps its steps; the stop is done again, once', async () => {
  const run = join(folder, 'aborted-stop')
  const options = { ...OPTIONS, run }
  for (const step of [10, 30, 40]) {
    const controller = new AbortController()
    const error = await errorOf(
      finetune(cpuEngine(), options, {
        signal: controller.signal,
        onEvent: event => {
          if (event.kind === 'progress' && event.label === `validate step ${step}`)
            controller.abort(new InterruptedError('interrupted'))
        },
      }),
    )
    assert.is(error.message, `training was interrupted after step ${step} of 40; its state is saved`)
  }
  await finetune(cpuEngine(), options, silent)
  const read = (folder: string, name: string) => readFileSync(join(folder, name))
  for (const name of ['averaged.onnx', 'best.onnx', 'manifest.json', 'average.safetensors'])
    assert.ok(read(run, name).equals(read(OPTIONS.run, name)), name)
  const log = (folder: string) =>
    read(folder, 'metrics.jsonl')
      .toString()
      .trim()
      .split('\n')
      .map(line => ({ ...(JSON.parse(line) as object), ts: 0 }))
  assert.equal(log(run), log(OPTIONS.run))
})

test('select delivers what was asked for', () => {
  const candidate = (name: Candidate['name'], top1: number): Candidate => {
    return { name, path: name, step: 1, metrics: { samples: 100, loss: 1, top1 } }
  }
  const with_ = (start: number, last: number, best: number, swa: number) => [
    candidate('start', start),
    candidate('last', last),
    candidate('best', best),
    candidate('swa', swa),
  ]
  const rows = [
    [with_(0.9, 0.5, 0.6, 0.4), 'swa', 'swa'],
    [with_(0.9, 0.5, 0.6, 0.4), 'best', 'best'],
    [with_(0.9, 0.5, 0.6, 0.4), 'gate', 'start'],
    [with_(0.3, 0.5, 0.5, 0.5), 'gate', 'swa'],
    [with_(0.3, 0.7, 0.5, 0.6), 'gate', 'last'],
  ] as const
  for (const [candidates, wanted, delivered] of rows) assert.is(select(candidates, wanted), delivered)
  const four = with_(0.9, 0.5, 0.6, 0.4)
  assert.is(select([...four, candidate('ema', 0.1)], 'ema'), 'ema')
  // Of two that are equally right, the one with the lower loss, where the loss is what counts.
  const sure: Candidate = { ...four[1]!, metrics: { samples: 100, loss: 0.5, top1: 0.5 } }
  assert.is(select([four[0]!, sure], 'gate', 'loss'), 'last')
  assert.throws(
    () => select(four, 'gate', 'f2'),
    (error: Error) => error.message === '--metric f2: it is not measured here, found loss, top1',
  )
})

test.after(() => {
  rmSync(folder, { recursive: true, force: true })
})

test.run()
