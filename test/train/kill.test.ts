/** A run that is killed (SIGKILL) at twelve random moments and resumed ends with the bytes of an uninterrupted one. */

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Random } from '../../src/util/random.ts'
import { writeDigits } from '../support/digits.ts'

const KILLS = 12
const ROOT = join(import.meta.dirname, '../..')
const SEED = 20_261
const folder = mkdtempSync(join(tmpdir(), 'swa-kill-'))
const data = writeDigits(join(folder, 'data'), 160)

function start(run: string) {
  const model = join('fixtures', 'demo', 'digits_cnn.onnx')
  const lengths = [
    ...['--epochs', '4', '--batch-size', '8', '--swa-start', '0.4dur', '--anneal', '1ep', '--shift', '1'],
    // What carries more from step to step than weights and moments.
    ...['--accumulate', '2', '--head-only', '1ep', '--ema', '0.9', '--clip-norm', '1', '--patience', '1'],
    ...['--threads', '1'],
  ]
  const args = [
    'finetune',
    model,
    '--engine',
    'cpu',
    '--data',
    data,
    '--run',
    run,
    '--optimizer',
    'adamw',
    ...lengths,
  ]
  const main = join('src', 'cli', 'main.ts')
  const child = spawn(process.execPath, ['--import', 'tsx', main, ...args], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const ended = new Promise<{ code: number | null; output: string }>(resolve => {
    child.on('close', code => resolve({ code, output }))
  })
  return { child, ended }
}

/** Every file of a run but the metrics log, whose lines carry the time of day. */
function filesOf(run: string): Record<string, string> {
  const files = readdirSync(run, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile())
  const paths = files
    .map(entry => join(entry.parentPath, entry.name))
    .filter(path => !path.endsWith('metrics.jsonl'))
  return Object.fromEntries(
    paths
      .sort()
      .map(path => [relative(run, path), createHash('sha256').update(readFileSync(path)).digest('hex')]),
  )
}

/** The metrics log without its times. */
function metricsOf(run: string): unknown[] {
  const lines = readFileSync(join(run, 'metrics.jsonl'), 'utf8').trim().split('\n')
  return lines.map(line => ({ ...(JSON.parse(line) as object), ts: 0 }))
}

test(`${KILLS} kills change nothing`, async () => {
  const whole = join(folder, 'whole')
  const began = performance.now()
  const first = await start(whole).ended
  assert.is(first.code, 0, first.output)
  const span = performance.now() - began

  const random = Random.of(SEED)
  const killed = join(folder, 'killed')
  let kills = 0
  let finished = 0
  while (kills < KILLS) {
    const { child, ended } = start(killed)
    const wait = span * (0.15 + 0.85 * random.float())
    const timer = setTimeout(() => child.kill('SIGKILL'), wait)
    const { code, output } = await ended
    clearTimeout(timer)
    if (code === null) kills++
    else {
      assert.is(code, 0, output)
      assert.equal(filesOf(killed), filesOf(whole), `seed ${SEED}, run ${finished}`)
      finished++
      if (kills < KILLS) rmSync(killed, { recursive: true })
    }
  }
  const last = await start(killed).ended
  assert.is(last.code, 0, last.output)
  assert.equal(filesOf(killed), filesOf(whole))
  assert.equal(metricsOf(killed), metricsOf(whole))
})

test.after(() => {
  rmSync(folder, { recursive: true, force: true })
})

test.run()
