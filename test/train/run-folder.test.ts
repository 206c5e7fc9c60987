/** Run folders: which plan may go on in them, and what damaged states fall back to. */

import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { FRESH } from '../../src/train/patience.ts'
import { loadState, openRunFolder, RunFolder, saveState, type Progress } from '../../src/train/run-folder.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { errorOf } from '../support/errors.ts'

const folder = mkdtempSync(join(tmpdir(), 'swa-folder-'))

function progressAt(step: number): Progress {
  const pending = { loss: 0, batches: 0, gradNorm: 0, steps: 0 }
  const traffic = { steps: step, runs: step, batchBytes: 0, stateBytes: 0 }
  return {
    step,
    batches: step,
    metricsBytes: 0,
    snapshots: [],
    start: null,
    best: null,
    last: null,
    traffic,
    unfinished: false,
    pending,
    patience: FRESH,
    swaStart: null,
  }
}

const tensorsOf = (step: number) => new Map([['theta', Tensor.of('float32', [2], [step, step])]])

/** A run folder with states after steps 10, 20 and 30, of which the last two are kept. */
async function makeRun(name: string): Promise<RunFolder> {
  const run = new RunFolder(join(folder, name))
  const { release } = await openRunFolder(run, { lr: 1 })
  for (const step of [10, 20, 30]) await saveState(run, progressAt(step), tensorsOf(step), [])
  await release()
  return run
}

test('two generations are kept, and the newest is loaded', async () => {
  const run = await makeRun('whole')
  assert.equal(readdirSync(run.state).sort(), [
    'manifest-20.json',
    'manifest-30.json',
    'tensors-20.safetensors',
    'tensors-30.safetensors',
  ])
  const state = (await loadState(run))!
  assert.is(state.progress.step, 30)
  assert.equal(state.damaged, [])
})

const damages: readonly [string, (state: string) => void, string][] = [
  ['tensors', state => truncateSync(join(state, 'tensors-30.safetensors'), 9), 'tensors-30.safetensors'],
  ['missing-tensors', state => rmSync(join(state, 'tensors-30.safetensors')), 'tensors-30.safetensors'],
  ['manifest', state => truncateSync(join(state, 'manifest-30.json'), 20), 'manifest-30.json'],
  ['empty-object', state => writeFileSync(join(state, 'manifest-30.json'), '{}'), 'manifest-30.json'],
  ['null', state => writeFileSync(join(state, 'manifest-30.json'), 'null'), 'manifest-30.json'],
]
for (const [name, damage, file] of damages) {
  test(`damaged ${name}: the state before it is taken, and it says so`, async () => {
    const run = await makeRun(name)
    damage(run.state)
    const state = (await loadState(run))!
    assert.is(state.progress.step, 20)
    assert.equal(state.damaged, [file])
    assert.equal(state.tensors.get('theta')!.toNumbers(), [20, 20])
  })
}

test('without any whole state nothing is started anew over the snapshots', async () => {
  const run = await makeRun('lost')
  for (const step of [20, 30]) writeFileSync(join(run.state, `manifest-${step}.json`), '')
  const damaged = await errorOf(loadState(run))
  assert.is(damaged.exitCode, 3)
  assert.match(damaged.message, /the saved state is damaged: manifest-30\.json, manifest-20\.json$/)
  for (const name of readdirSync(run.state)) rmSync(join(run.state, name))
  assert.is(await loadState(run), null)
  for (const step of [20, 30]) writeFileSync(run.snapshot(step), '')
  const missing = await errorOf(loadState(run))
  assert.match(missing.message, /the saved state is missing, .*snapshots holds 2 snapshots$/)
})

test('a plan that was never trained gives way; a trained one does not', async () => {
  const run = new RunFolder(join(folder, 'plans'))
  const open = async (config: unknown) => {
    const { resumed, release } = await openRunFolder(run, config, ['model.path'])
    await release()
    return resumed
  }
  assert.is(await open({ lr: 1, model: { path: 'a.onnx' } }), false)
  assert.is(await open({ lr: 2, model: { path: 'a.onnx' } }), false)
  assert.match(readFileSync(run.config, 'utf8'), /"lr": 2/)
  await saveState(run, progressAt(10), tensorsOf(10), [])
  assert.is(await open({ lr: 2, model: { path: 'moved/a.onnx' } }), true, 'places may change')
  const error = await errorOf(open({ lr: 3, model: { path: 'b.onnx' }, seed: 1 }))
  assert.is(error.exitCode, 2)
  assert.match(error.message, /holds a run with another plan: lr: was 2, now 3; seed: was absent, now 1$/)
  assert.not.ok(readdirSync(run.path).includes('.lock'), 'a refusal leaves no lock')
})

test('a folder that cannot be made is an environment error', async () => {
  writeFileSync(join(folder, 'file'), '')
  const error = await errorOf(openRunFolder(new RunFolder(join(folder, 'file')), {}))
  assert.is(error.exitCode, 4)
  assert.match(error.message, /^write .*file: E/)
})

test.after(() => {
  rmSync(folder, { recursive: true, force: true })
})

test.run()
