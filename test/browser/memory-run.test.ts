/** Runs in memory beside runs on disk: the same bytes, the same numbers, the same defaults. */

import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  evaluateInBrowser,
  finetuneInBrowser,
  inspectInBrowser,
  openModelBytes,
  patchModel,
  type BrowserEvent,
} from '../../src/browser/index.ts'
import { resolveOptions } from '../../src/browser/options.ts'
import {
  finetuneOptions,
  FINETUNE_OPTIONS,
  type FinetuneArguments,
} from '../../src/cli/finetune-options/index.ts'
import { openDataset } from '../../src/data/index.ts'
import { evaluateModels } from '../../src/eval/compare.ts'
import { inspectModel } from '../../src/eval/inspect.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { loadModel, writePatched } from '../../src/serde/index.ts'
import { MemorySource } from '../../src/tensor/source.ts'
import { finetune } from '../../src/train/finetune.ts'
import type { HeadOptions } from '../../src/train/head.ts'
import type { RunSettings } from '../../src/train/options.ts'
import { InterruptedError } from '../../src/util/errors.ts'
import { writeDigits } from '../support/digits.ts'
import { errorOf } from '../support/errors.ts'

const MODEL = join(import.meta.dirname, '../../fixtures/demo/digits_cnn.onnx')
const folder = mkdtempSync(join(tmpdir(), 'swa-memory-'))
const data = writeDigits(join(folder, 'data'), 200)
const model = new Uint8Array(readFileSync(MODEL))

const SHARED = {
  epochs: 3,
  batchSize: 32,
  seed: 3,
  evalEvery: '1ep',
  schedule: {
    lr: 0.05,
    stepping: 'batch',
    base: { kind: 'constant' },
    swa: { start: '1ep', rate: { kind: 'constant', lr: 0.02 } },
  },
} as const

/** Plain, and with all that a run may carry from step to step. */
const SETTINGS: Readonly<Record<string, Partial<RunSettings>>> = {
  plain: {},
  rich: {
    ...{ accumulate: 2, ema: { decay: 0.5, warmup: true }, clip: { kind: 'norm', limit: 1 } },
    ...{ headOnly: { over: '1ba', also: [] }, layerDecay: 0.9, patience: 1 },
    ...{ select: 'ema', metric: 'loss' },
  },
}

for (const [name, settings] of Object.entries(SETTINGS)) {
  test(`${name}: a run in memory gives the bytes of a run on disk`, () => compareRuns(name, settings))
}

test('a new head: a run in memory gives the bytes of a run on disk', () =>
  compareRuns(
    'head',
    { patterns: { freeze: ['*'] }, batchNorm: 'frozen' },
    { head: 'reinit', numClasses: 12 },
  ))

async function compareRuns(
  name: string,
  changed: Partial<RunSettings>,
  head: HeadOptions = {},
): Promise<void> {
  const settings = { ...resolveOptions().settings, ...changed }
  const run = join(folder, name)
  const onDisk = await finetune(
    cpuEngine(),
    {
      ...SHARED,
      ...head,
      ...{ model: MODEL, data, settings, run },
      dataOptions: { holdOut: 0.2, seed: 3 },
      augment: { shift: 1 },
    },
    { onEvent: () => undefined },
  )
  const events: BrowserEvent[] = []
  const inMemory = await finetuneInBrowser({
    model,
    data: await openDataset(data),
    options: { ...SHARED, ...head, settings, holdOut: 0.2, augment: { shift: 1 } },
    engine: cpuEngine(),
    onEvent: event => events.push(event),
  })
  for (const file of ['averaged', 'last'] as const)
    assert.ok(readFileSync(join(run, `${file}.onnx`)).equals(inMemory[file]), `${file}.onnx`)
  assert.ok(readFileSync(join(run, 'model.onnx')).equals(inMemory.selectedModel), 'model.onnx')
  assert.equal(inMemory.snapshots, onDisk.snapshots)
  assert.is(inMemory.selected, onDisk.selected)
  assert.is(inMemory.swaIsBest, onDisk.swaIsBest)
  assert.equal(
    inMemory.candidates.map(({ name, step, metrics }) => ({ name, step, metrics })),
    onDisk.candidates.map(({ name, step, metrics }) => ({ name, step, metrics })),
  )
  const start = inMemory.candidates.find(({ name }) => name === 'start')!
  const file = head.head ? join(run, 'start.onnx') : MODEL
  assert.ok(readFileSync(file).equals(start.bytes), 'the model before training is the file itself')
  const steps = events.filter(event => event.kind === 'step')
  assert.equal(
    steps.map(({ step }) => step),
    Array.from({ length: inMemory.steps }, (_, i) => i + 1),
  )
  assert.ok(steps.every(({ accuracy }) => accuracy !== null && accuracy >= 0 && accuracy <= 1))
}

test('a model patched in memory has the bytes of the one patched on disk', async () => {
  const metadata = new Map([['swa_onnx.method', 'test']])
  const [file, opened] = [await loadModel(MODEL), await openModelBytes(model)]
  const halves = (tensors: typeof file.model) => {
    const { tensor } = tensors.graph.initializers.find(value => value.tensor?.dtype === 'float32')!
    return new Map([[tensor!, new MemorySource(new Uint8Array(tensor!.byteLength).fill(7))]])
  }
  const path = join(folder, 'patched.onnx')
  await writePatched(file, path, halves(file.model), metadata)
  const bytes = await patchModel(opened, halves(opened.model), metadata)
  assert.ok(readFileSync(path).equals(bytes))
  await file.close()
})

test('the defaults are those of the command', () => {
  const defaults = Object.entries(FINETUNE_OPTIONS).flatMap(([name, option]) => {
    const key = name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())
    return 'default' in option ? [[key, option.default] as const] : []
  })
  const command = finetuneOptions({
    ...(Object.fromEntries(defaults) as unknown as FinetuneArguments),
    ...{ model: 'm.onnx', data: 'd' },
  })
  const { dataOptions, holdOut, limit, ...options } = resolveOptions()
  const { epochs, batchSize, seed, augment, schedule, settings, evalEvery } = command
  assert.equal(options, { epochs, batchSize, seed, augment, schedule, settings, evalEvery })
  assert.is(holdOut, command.dataOptions.holdOut)
  assert.is(limit, command.dataOptions.limit ?? null)
  assert.equal(dataOptions, {})
})

test('arrays are data too, and metrics and inspection are those of the commands', async () => {
  const set = await openDataset(data)
  const arrays = {
    images: set.columns!.inputs[0]!,
    dims: [set.length, 28, 28],
    labels: Array.from({ length: set.length }, (_, i) => set.label(i)!),
  }
  const metrics = await evaluateInBrowser(cpuEngine(), model, arrays)
  const report = await evaluateModels(cpuEngine(), { models: [MODEL], data, batchSize: 32 })
  assert.equal(metrics, report.models[0]!.metrics)
  const [here, there] = [await inspectInBrowser(model, MODEL), await inspectModel(MODEL)]
  assert.equal(here, there)
})

test('an abort stops the run', async () => {
  const stopping = new AbortController()
  const error = await errorOf(async () =>
    finetuneInBrowser({
      model,
      data: await openDataset(data),
      options: { ...SHARED, holdOut: 0 },
      engine: cpuEngine(),
      onEvent: event => event.kind === 'step' && stopping.abort(),
      signal: stopping.signal,
    }),
  )
  assert.instance(error, InterruptedError)
})

test.after(() => rmSync(folder, { recursive: true, force: true }))

test.run()
