/**
 * Thousands of damaged checkpoints of every format: each one is refused with an error of ours, or averaged to what it holds;
 * none crashes, none takes longer than five seconds, none takes memory that a small file does not need.
 */

import { spawn } from 'node:child_process'
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { suite } from 'uvu'
import * as assert from 'uvu/assert'
import { openCheckpoint, planAverage, runAverage } from '../../src/averaging/index.ts'
import { loadModel, saveModel, writeSafetensors } from '../../src/serde/index.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { perturb, values } from './support/checkpoints.ts'
import { withFolder } from './support/folder.ts'
import type { Victim } from './support/hostile-child.ts'

const test = suite('averaging: hostile files')
const CASES = 3200
const CHILDREN = 2
const LONGEST_MS = 5000
const CHILD = fileURLToPath(new URL('./support/hostile-child.ts', import.meta.url))
const TORCH = fileURLToPath(new URL('../../fixtures/averaging/torch', import.meta.url))
const MLP = fileURLToPath(new URL('../../fixtures/models/bn_cnn-ts/model.onnx', import.meta.url))

const tensors = (seed: number): [string, Tensor][] => [
  ['fc.weight', Tensor.of('float32', [6, 4], values(seed, 24))],
  ['fc.bias', Tensor.of('float32', [6], values(seed + 50, 6))],
  ['half', Tensor.of('float16', [3], values(seed + 70, 3))],
  ['steps', Tensor.of('int64', [1], [5n])],
]

/** The same tensors as safetensors, those of float32 moved by 1. */
async function writeMoved(path: string, out: string): Promise<void> {
  const checkpoint = await openCheckpoint(path)
  const moved: [string, Tensor][] = []
  for (const [name, { tensor, dtype, dims }] of checkpoint.tensors) {
    const loaded = await tensor!.load()
    const numbers = dtype === 'float32' ? loaded.toNumbers().map(x => x + 1) : null
    moved.push([name, numbers ? Tensor.of(dtype, dims, numbers) : loaded])
  }
  await checkpoint.close()
  await writeSafetensors(out, moved)
}

/** Small checkpoints of every format, two of each. */
async function writeVictims(file: (name: string) => string): Promise<Victim[]> {
  const victims: Victim[] = []
  const add = (name: string, damaged: string, intact: string, more: Partial<Victim> = {}) =>
    victims.push({ name, damaged, opened: damaged, beside: [], intact, ...more })

  for (const seed of [1, 2]) await writeSafetensors(file(`${seed}.safetensors`), tensors(seed))
  add('safetensors', file('2.safetensors'), file('1.safetensors'))

  for (const seed of [1, 2]) {
    await mkdir(file(`shards-${seed}`))
    const inside = (name: string) => join(file(`shards-${seed}`), name)
    const [weights, rest] = [tensors(seed).slice(0, 1), tensors(seed).slice(1)]
    const names = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'] as const
    await writeSafetensors(inside(names[0]), weights)
    await writeSafetensors(inside(names[1]), rest)
    const places = [...weights.map(([name]) => [name, names[0]]), ...rest.map(([name]) => [name, names[1]])]
    const index = { metadata: { total_size: 1 }, weight_map: Object.fromEntries(places) as object }
    await writeFile(inside('model.safetensors.index.json'), JSON.stringify(index))
  }
  const parts = [
    'model-00001-of-00002.safetensors',
    'model-00002-of-00002.safetensors',
    'model.safetensors.index.json',
  ]
  for (const part of [parts[0]!, parts[2]!]) {
    add(`sharded, ${part}`, join(file('shards-2'), part), join(file('shards-1'), parts[2]!), {
      opened: join(file('shards-2'), parts[2]!),
      beside: parts.filter(name => name !== part).map(name => join(file('shards-2'), name)),
    })
  }

  for (const seed of [1, 2]) await perturb(MLP, file(`raw-${seed}.onnx`), seed)
  add('onnx', file('raw-2.onnx'), file('raw-1.onnx'))
  for (const seed of [1, 2]) {
    const model = await loadModel(file(`raw-${seed}.onnx`))
    await saveModel(model.model, file(`out-${seed}.onnx`), {
      externalData: { location: `out-${seed}.onnx.data`, threshold: 64 },
    })
    await model.close()
  }
  const data = file('out-2.onnx.data')
  add('onnx with a data file', file('out-2.onnx'), file('out-1.onnx'), { beside: [data] })
  add('data file of onnx', data, file('out-1.onnx'), {
    opened: file('out-2.onnx'),
    beside: [file('out-2.onnx')],
  })

  for (const [name, archive] of [
    ['torch', 'plain-2.pt'],
    ['torch, a training checkpoint', 'training.pt'],
    ['npz', 'plain-1.npz'],
    ['npz, packed', 'packed-1.npz'],
  ] as const) {
    await copyFile(join(TORCH, archive), file(archive))
    await writeMoved(file(archive), file(`${archive}.safetensors`))
    add(name, file(archive), file(`${archive}.safetensors`))
  }

  for (const seed of [3, 4]) {
    await writeSafetensors(file(`m-${seed}`), tensors(seed))
    await runAverage(await planAverage([file(`m-${seed}`)]), file(`sums-${seed}.safetensors`), {
      as: 'partial',
    })
  }
  add('partial average', file('sums-4.safetensors'), file('sums-3.safetensors'))
  return victims
}

/** Runs cases in a process of its own; gives a line for each. A process that is silent for too long is ended. */
function runCases(folder: string, first: number, end: number): Promise<string[]> {
  return new Promise(resolve => {
    const args = ['--max-old-space-size=300', '--import', 'tsx', CHILD, folder, String(first), String(end)]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let [stdout, stderr] = ['', '']
    const kill = () => child.kill('SIGKILL')
    let timer = setTimeout(kill, 12 * LONGEST_MS)
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString()
      clearTimeout(timer)
      timer = setTimeout(kill, 3 * LONGEST_MS)
    })
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
    child.on('close', code => {
      clearTimeout(timer)
      const lines = stdout.split('\n').filter(line => line !== '')
      resolve(code === 0 ? lines : [...lines, `the process ended with ${code}: ${stderr.slice(-1500)}`])
    })
  })
}

test(`${CASES} damaged checkpoints`, () =>
  withFolder(async file => {
    const victims = await writeVictims(file)
    await writeFile(file('victims.json'), JSON.stringify(victims))
    // Intact, all of them are averaged: what is refused below is refused for the damage.
    for (const { name, opened, intact, into } of victims) {
      const out = file(intact.endsWith('.onnx') ? 'x.onnx' : 'x.safetensors')
      const plan = await planAverage([intact, opened], into === undefined ? {} : { into })
      await runAverage(plan, out)
      assert.ok((await readFile(out)).byteLength > 0, name)
    }
    const share = Math.ceil(CASES / CHILDREN)
    const lines = (
      await Promise.all(
        Array.from({ length: CHILDREN }, (_, c) =>
          runCases(file(''), c * share, Math.min(CASES, (c + 1) * share)),
        ),
      )
    ).flat()
    const outcomes = new Map<string, number>()
    const bad: string[] = []
    for (const line of lines) {
      const [, ms, outcome] = /^\d+ (\d+) (\w+)/.exec(line) ?? []
      if (outcome !== undefined) outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
      if ((outcome !== 'refused' && outcome !== 'averaged') || Number(ms) > LONGEST_MS) bad.push(line)
    }
    assert.equal(bad.slice(0, 20), [])
    assert.is(lines.length, CASES)
    // Most damage is seen; damage to the numbers themselves is not damage to the file.
    assert.ok(outcomes.get('refused')! > CASES / 3, JSON.stringify([...outcomes]))
    assert.ok(outcomes.get('averaged')! > CASES / 100, JSON.stringify([...outcomes]))
  }))

test.run()
