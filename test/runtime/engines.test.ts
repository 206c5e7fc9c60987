/** How an engine is asked for, tried and chosen. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { chooseEngine, chooseEngines, type Choices } from '../../src/runtime/choose-engine.ts'
import { diagnose, versionOf } from '../../src/runtime/diagnose.ts'
import {
  autoChoice,
  ENGINE_NAMES,
  ENGINES,
  engineList,
  engineWords,
  parseEngine,
  parseEngines,
  type EngineOptions,
  type EngineReport,
  type EngineTable,
} from '../../src/runtime/engines.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { probeInChild } from '../../src/runtime/probe-in-child.ts'
import { describeMachine } from '../../src/cli/commands/doctor.ts'
import { errorOf } from '../support/errors.ts'

const NAMES = ['cuda', 'webgpu', 'tfjs', 'cpu']

test('a name, or a name with a device', () => {
  const known = ['auto', ...NAMES]
  assert.equal(parseEngine('cuda:12', known), { name: 'cuda', device: 12 })
  assert.equal(parseEngine('cuda', known), { name: 'cuda', device: 0 })
  assert.equal(parseEngine('auto', known), { name: 'auto', device: 0 })
  assert.equal(parseEngines('cpu, cuda:1,cuda', NAMES), [
    { name: 'cpu', device: 0 },
    { name: 'cuda', device: 1 },
    { name: 'cuda', device: 0 },
  ])
})

test('what is none says what there is', async () => {
  const known = ['auto', ...NAMES]
  for (const text of ['gpu', 'CUDA', 'cuda:', 'cuda:x', 'cuda:1:2', '', 'toString']) {
    const error = await errorOf(() => parseEngine(text, known))
    assert.is(error.message, `--engine: expected auto, cuda, webgpu, tfjs or cpu, found "${text}"`)
    assert.is(error.exitCode, 2)
  }
  const device = await errorOf(() => parseEngine('webgpu:1', known))
  assert.is(device.message, '--engine: webgpu has no devices to choose from, found "webgpu:1"')
  const auto = await errorOf(() => parseEngines('cpu,auto', NAMES))
  assert.is(auto.message, '--engines: expected cuda, webgpu, tfjs or cpu, found "auto"')
  const one = await errorOf(() => parseEngines('cpu,cpu', NAMES))
  assert.is(one.cure, 'name the reference first: cpu,cuda,webgpu,tfjs')
})

test('help is written from the table', () => {
  assert.is(engineWords(NAMES), 'auto, cuda[:device], webgpu, tfjs or cpu')
  assert.is(engineList(NAMES), 'cpu,cuda,webgpu,tfjs')
})

test('every row of the table is an engine of its own name', async () => {
  for (const [name, load] of Object.entries(ENGINES as EngineTable)) assert.is((await load()).name, name)
})

const report = (name: string, works: boolean, accelerated: boolean): EngineReport => ({
  ...{ name, works, accelerated, found: `${name} was tried`, cure: works ? null : `get ${name}` },
})

test('auto takes the first fast engine that works, else the CPU, and says why', () => {
  assert.equal(
    autoChoice([report('cuda', false, true), report('webgpu', true, true), report('cpu', true, false)]),
    {
      ...{ name: 'webgpu', reason: 'webgpu was tried' },
    },
  )
  assert.equal(
    autoChoice([report('cpu', true, false), report('cuda', false, true), report('tfjs', true, false)]),
    {
      name: 'cpu',
      reason: 'no faster engine works here (cuda: cuda was tried; tfjs: works, but is not faster)',
    },
  )
  assert.equal(autoChoice([report('cpu', true, false)]), { name: 'cpu', reason: 'there is no other engine' })
})

/** A machine on which some engines work; `tried` lists the probes. */
function machine(working: readonly string[]): Choices & { tried: string[] } {
  const tried: string[] = []
  const entry = (name: string) => () =>
    Promise.resolve({
      name,
      probe: () => Promise.reject(new Error('only in a child')),
      open: (options: EngineOptions) => {
        const precision = name === 'cuda' ? (options.precision ?? 'tf32') : 'float32'
        return Promise.resolve({ ...cpuEngine(), name, precision } as const)
      },
    })
  return {
    tried,
    engines: Object.fromEntries(['cpu', 'cuda', 'webgpu'].map(name => [name, entry(name)])),
    probe: (name, { device }) => {
      tried.push(device === 0 ? name : `${name}:${device}`)
      return Promise.resolve(report(name, working.includes(name), name !== 'cpu'))
    },
  }
}

test('an engine that was named and does not work is an error with its cure, never another engine', async () => {
  const error = await errorOf(chooseEngine('cuda:1', {}, machine(['webgpu'])))
  assert.is(error.message, 'engine cuda:1 does not work here: cuda was tried')
  assert.equal([error.exitCode, error.cure], [4, 'get cuda'])
})

test('auto stops trying at the first that works; the CPU is not tried', async () => {
  const both = machine(['cuda', 'webgpu'])
  const chosen = await chooseEngine('auto', {}, both)
  assert.equal([chosen.engine.name, chosen.reason, both.tried], ['cuda', 'auto: cuda was tried', ['cuda']])
  const none = machine([])
  const cpu = await chooseEngine('auto', {}, none)
  assert.equal([cpu.engine.name, none.tried], ['cpu', ['cuda', 'webgpu']])
  assert.match(cpu.reason, 'auto: no faster engine works here')
  const named = machine([])
  assert.is((await chooseEngine('cpu', {}, named)).reason, 'asked for')
  assert.equal(named.tried, [])
})

test('a precision that the engine does not compute in is refused', async () => {
  const here = machine(['cuda'])
  assert.is((await chooseEngine('cuda', { precision: 'float32' }, here)).engine.precision, 'float32')
  assert.is((await chooseEngine('cuda', {}, here)).engine.precision, 'tf32')
  const error = await errorOf(chooseEngine('cpu', { precision: 'tf32' }, here))
  assert.is(error.message, '--precision tf32: no engine computes in it: cpu in float32')
  const requests = [
    { name: 'cpu', device: 0 },
    { name: 'cuda', device: 0 },
  ]
  const compared = await chooseEngines(requests, { precision: 'tf32' }, here)
  assert.equal(
    compared.map(({ engine }) => engine.precision),
    ['float32', 'tf32'],
  )
})

test('the CPU works, tried in a process of its own', async () => {
  const found = await probeInChild('cpu', { device: 0 })
  assert.equal(found, {
    ...{ name: 'cpu', works: true, accelerated: false, cure: null },
    found: 'a small model ran and gave the right numbers',
  })
})

test('a driver that crashes, hangs or leaves is a report; noise is none', async () => {
  const entry = new URL('./support/bad-probe.ts', import.meta.url)
  const probe = (deed: string, timeLimitMs = 30_000) =>
    probeInChild(deed, { device: 2 }, { entry, timeLimitMs })
  const [crash, hang, leave, answer] = await Promise.all([
    probe('crash'),
    probe('hang', 3000),
    probe('leave'),
    probe('answer'),
  ])
  assert.equal([crash.works, leave.works, hang.works, answer.works], [false, false, false, true])
  assert.match(crash.found, /^trying it ended the process \(SIGABRT\)/)
  assert.is(hang.found, 'a small model did not run within 3 s')
  assert.is(leave.found, 'trying it ended the process (code 3)')
  assert.is(answer.found, '{"device":2}')
})

test('doctor tries every engine, and tells versions and what auto takes', async () => {
  const machine = await diagnose()
  assert.equal(
    machine.engines.map(({ name }) => name),
    ENGINE_NAMES,
  )
  assert.is(machine.versions['node'], process.version.slice(1))
  assert.is(machine.versions['onnxruntime-node'], versionOf('onnxruntime-node'))
  assert.match(machine.versions['onnxruntime-node']!, /^\d+\.\d+\.\d+/)
  assert.is(versionOf('there-is-no-such-package'), null)
  assert.equal(machine.auto, autoChoice(machine.engines))
  const engines = [report('cpu', true, false), report('cuda', false, true)]
  const text = describeMachine({ ...machine, engines, auto: autoChoice(engines) })
  assert.match(text, /works {4}cpu {3}cpu was tried\n/)
  assert.match(text, /missing {2}cuda {2}cuda was tried\n +to get it: get cuda\n/)
  assert.match(text, '--engine auto takes cpu (no faster engine works here (cuda: cuda was tried))')
})

test.run()
