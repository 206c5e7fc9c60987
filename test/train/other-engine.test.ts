/** Whole runs on engines that are not the CPU's: chunks, notes, traffic, the check at the end, and resuming. */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Engine, Trainer } from '../../src/runtime/engine.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { loadModel } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import type { EngineCheck } from '../../src/train/check-engine.ts'
import type { TrafficSummary } from '../../src/train/finish.ts'
import { finetune } from '../../src/train/finetune.ts'
import type { FinetuneEvent, FinetuneOptions } from '../../src/train/options.ts'
import { loadState, RunFolder } from '../../src/train/run-folder.ts'
import { InterruptedError } from '../../src/util/errors.ts'
import { writeDigits } from '../support/digits.ts'
import { errorOf } from '../support/errors.ts'
import { wrongEngine } from '../support/wrong-engine.ts'

const MODEL = join(import.meta.dirname, '../../fixtures/demo/digits_cnn.onnx')
const folder = mkdtempSync(join(tmpdir(), 'swa-engines-'))
const data = writeDigits(join(folder, 'data'), 200)

const optionsFor = (run: string): FinetuneOptions => ({
  ...{ model: MODEL, data, dataOptions: { holdOut: 0.2, seed: 0 }, augment: { shift: 1 } },
  ...{ run: join(folder, run), epochs: 3, batchSize: 16, seed: 1, evalEvery: '1ep', threads: 1 },
  schedule: {
    lr: 0.05,
    stepping: 'batch',
    base: { kind: 'constant' },
    swa: { start: '1ep', rate: { kind: 'constant', lr: 0.02 } },
  },
  settings: {
    optimizer: { kind: 'sgd', momentum: 0.9, nesterov: false, weightDecay: 0 },
    ...{ loss: 'auto', labelSmoothing: 0, ignoreIndex: -100, batchNorm: 'train', bnMode: 'exact' },
    ...{ dropout: true, select: 'swa', patterns: {} },
  },
})

const silent = { onEvent: () => undefined }

/** The CPU's engine with another trainer around its own. */
function engineWith(wrap: (trainer: Trainer) => Partial<Trainer>, more: Partial<Engine> = {}): Engine {
  const cpu = cpuEngine()
  return {
    ...cpu,
    async openTrainer(program, options) {
      const trainer = await cpu.openTrainer(program, options)
      const own: Trainer = {
        chunk: 1,
        notes: [],
        get traffic() {
          return trainer.traffic
        },
        steps: batches => trainer.steps(batches),
        readState: () => trainer.readState(),
        writeState: state => trainer.writeState(state),
        close: () => trainer.close(),
      }
      return Object.defineProperties(own, Object.getOwnPropertyDescriptors(wrap(trainer)))
    },
    ...more,
  }
}

const chunked = engineWith(() => ({ chunk: 7 }))

/** Every file of a run but the log, whose lines carry the time of day. */
function filesOf(run: string): Map<string, Buffer> {
  const files = readdirSync(run, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
  const paths = files.map(entry => join(entry.parentPath, entry.name)).sort()
  return new Map(
    paths
      .filter(path => !path.endsWith('metrics.jsonl'))
      .map(path => [path.slice(run.length), readFileSync(path)]),
  )
}

test('seven steps at once give the files of one at a time, interrupted and resumed too', async () => {
  const [one, seven, halves] = ['one', 'seven', 'halves'].map(optionsFor) as [
    FinetuneOptions,
    FinetuneOptions,
    FinetuneOptions,
  ]
  await finetune(cpuEngine(), one, silent)
  await finetune(chunked, seven, silent)
  const controller = new AbortController()
  const abort = (event: FinetuneEvent) => {
    if (event.kind === 'step' && event.step === 12) controller.abort(new InterruptedError('interrupted'))
  }
  const error = await errorOf(finetune(chunked, halves, { onEvent: abort, signal: controller.signal }))
  assert.match(error.message, /^training was interrupted after step \d+ of 30; its state is saved$/)
  await finetune(chunked, halves, silent)
  const expected = filesOf(one.run)
  assert.ok(expected.size > 8)
  for (const { run } of [seven, halves]) {
    const found = filesOf(run)
    assert.equal([...found.keys()], [...expected.keys()])
    for (const [name, bytes] of expected) assert.ok(bytes.equals(found.get(name)!), `${run}${name} differs`)
  }
})

interface Manifest {
  readonly engine: { readonly name: string; readonly precision: string }
  readonly traffic: TrafficSummary | null
  readonly crossValidation: EngineCheck | null
}

const manifestOf = ({ run }: FinetuneOptions) =>
  JSON.parse(readFileSync(join(run, 'manifest.json'), 'utf8')) as Manifest

test('on the CPU there is no traffic and nothing to compare', () => {
  const { engine, traffic, crossValidation } = manifestOf(optionsFor('one'))
  assert.equal([engine.name, engine.precision, traffic, crossValidation], ['cpu', 'float32', null, null])
})

test('notes are shown once, when the engine has them; traffic is counted over all steps, resumed ones too', async () => {
  const options = optionsFor('traffic')
  const device = engineWith(
    trainer => {
      let steps = 0
      return {
        chunk: 5,
        get notes() {
          return steps < 5 ? [] : ['2 nodes run on the CPU: Mean']
        },
        get traffic() {
          return { steps, runs: steps / 5, batchBytes: steps * 1000, stateBytes: steps * 80 }
        },
        async steps(batches) {
          const metrics = await trainer.steps(batches)
          steps += batches.length
          return metrics
        },
      }
    },
    { name: 'device', capabilities: { ...cpuEngine().capabilities, state: 'run' } },
  )
  const controller = new AbortController()
  const notes: string[] = []
  const onEvent = (event: FinetuneEvent) => {
    if (event.kind === 'note') notes.push(event.message)
    if (event.kind === 'step' && event.step === 12) controller.abort(new InterruptedError('interrupted'))
  }
  await errorOf(finetune(device, options, { onEvent, signal: controller.signal }))
  assert.equal(
    notes.filter(note => note.includes('Mean')),
    ['2 nodes run on the CPU: Mean'],
  )
  const { traffic, crossValidation } = await finetune(device, options, silent)
  assert.equal(traffic, { batchBytesPerStep: 1000, stateBytesPerStep: 80, stepsPerRun: 5 })
  assert.equal((await loadState(new RunFolder(options.run)))!.progress.traffic, {
    ...{ steps: 30, runs: 6, batchBytes: 30_000, stateBytes: 2400 },
  })
  assert.equal([crossValidation?.agrees, crossValidation?.relative, crossValidation?.sameClass], [true, 0, 1])
  assert.is(crossValidation?.samples, 40)
  assert.equal(manifestOf(options).traffic, traffic)
  assert.equal(manifestOf(options).crossValidation, crossValidation)
})

test('an engine that computes something else is a warning that names the node; the model is delivered', async () => {
  const options = optionsFor('wrong')
  const file = await loadModel(MODEL)
  const convolution = file.model.graph.nodes.filter(({ opType }) => opType === 'Conv')[1]!
  await file.close()
  const warnings: string[] = []
  const result = await finetune(
    wrongEngine({ output: convolution.output(0).name, by: 'Mul', amount: 1.5 }),
    options,
    { onEvent: event => event.kind === 'warning' && warnings.push(event.message) },
  )
  assert.is(result.crossValidation?.agrees, false)
  assert.is(result.crossValidation?.parting?.node, convolution.label)
  assert.is(warnings.length, 1)
  assert.match(warnings[0]!, `wrong parts from cpu at ${convolution.label} (node `)
  assert.match(warnings[0]!, 'from the same inputs it computes something else')
  assert.ok(readFileSync(result.model).length > 0)
})

test('a comparison that fails is a warning too', async () => {
  let opened = 0
  const broken = engineWith(() => ({}), {
    name: 'broken',
    openRunner: (model, options) => {
      if (String(model).endsWith('model.onnx')) return Promise.reject(new Error('out of memory'))
      opened++
      return cpuEngine().openRunner(model, options)
    },
  })
  const warnings: string[] = []
  const result = await finetune(broken, optionsFor('broken'), {
    onEvent: event => event.kind === 'warning' && warnings.push(event.message),
  })
  assert.ok(opened > 0)
  assert.is(result.crossValidation, null)
  assert.equal(warnings, [
    'the delivered model could not be compared with the CPU: engine broken: out of memory',
  ])
})

test('a run stays on its engine: the difference is shown, and the way back', async () => {
  const error = await errorOf(finetune({ ...cpuEngine(), name: 'other' }, optionsFor('one'), silent))
  assert.is(error.exitCode, 2)
  assert.match(error.message, 'engine.name: was "cpu", now "other"')
  assert.match(error.cure!, 'give the options of that run, --engine cpu, to resume it')
})

test('weights that are not finite are never saved', async () => {
  const options = optionsFor('overflow')
  const engine = engineWith(trainer => {
    let reads = 0
    return {
      async readState() {
        const state = await trainer.readState()
        const theta = state.get('theta')!
        if (++reads === 2) (theta.view() as Float32Array)[5] = Infinity
        return state.set('theta', Tensor.of('float32', theta.dims, theta.view()))
      },
    }
  })
  const error = await errorOf(finetune(engine, options, silent))
  assert.is(error.message, 'training: theta holds values that are not finite after step 20')
  assert.match(error.cure!, 'the state before it is kept')
  assert.is((await loadState(new RunFolder(options.run)))!.progress.step, 10)
  assert.equal(readdirSync(join(options.run, 'snapshots')), [])
})

test.after(() => {
  rmSync(folder, { recursive: true, force: true })
})

test.run()
