/** Which sessions a model gets, for models whose speed is known: runs that take as long as the table says. */

import { availableParallelism } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Engine, Feeds, Runner, SessionOptions } from '../../src/runtime/engine.ts'
import { cpuEngine } from '../../src/runtime/ort-cpu/engine.ts'
import { Sessions } from '../../src/serve/repository/sessions.ts'
import { DEFAULT_SETTINGS } from '../../src/serve/repository/settings.ts'
import { tune, type TuneOptions } from '../../src/serve/repository/tune.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { notTried } from '../support/not-tried.ts'

/** Milliseconds of a run of so many samples, with all threads and with a share of them. */
interface Speed {
  readonly all: (samples: number) => number
  readonly share: (samples: number) => number
}

class TimedEngine implements Pick<Engine, 'openRunner'> {
  readonly #speed: Speed
  open = 0

  constructor(speed: Speed) {
    this.#speed = speed
  }

  openRunner(_model: unknown, { threads }: SessionOptions = {}): Promise<Runner> {
    this.open++
    const time = threads === undefined ? this.#speed.all : this.#speed.share
    return Promise.resolve({
      inputs: [],
      outputs: [],
      run: async (feeds: Feeds) => {
        await sleep(time(feeds.get('x')!.dims[0]!))
        return new Map()
      },
      close: () => {
        this.open--
        return Promise.resolve()
      },
    })
  }
}

const SAMPLE: Feeds = new Map([['x', Tensor.of('float32', [1, 2], [1, 2])]])
const OPTIONS: TuneOptions = {
  settings: DEFAULT_SETTINGS,
  ...{ batched: true, sample: SAMPLE, outputs: ['y'], onCpu: true, weights: 1000 },
}
const SESSIONS = Math.min(availableParallelism(), 4)

async function tuned(speed: Speed, options: Partial<TuneOptions> = {}) {
  const engine = new TimedEngine(speed)
  const sessions = new Sessions(
    { ...cpuEngine(), openRunner: engine.openRunner.bind(engine) },
    { path: 'x', bfloat16: false, dataFiles: [] },
  )
  const { threads } = { ...OPTIONS, ...options }.settings
  const tuning = await tune(sessions, await sessions.open(threads), { ...OPTIONS, ...options })
  assert.is(engine.open, sessions.opened.length)
  return { tuning, open: engine.open }
}

/** A size of batch that is set, so that only sessions are measured. */
const SET = { settings: { ...DEFAULT_SETTINGS, maxBatch: 2 } }

if (SESSIONS > 1) {
  test('threads that share a run well: all of them for what comes alone, their own sessions under load', async () => {
    const { tuning, open } = await tuned({ all: n => 10 * n, share: n => 10 * n * SESSIONS }, SET)
    assert.is(tuning.instances, SESSIONS)
    assert.ok(tuning.lone)
    assert.is(open, SESSIONS + 1)
  })

  test('threads that help nothing: several sessions, and none for what comes alone', async () => {
    const { tuning, open } = await tuned({ all: n => 10 * n, share: n => 10 * n }, SET)
    assert.is(tuning.instances, SESSIONS)
    assert.not(tuning.lone)
    assert.is(open, SESSIONS)
  })
} else notTried(test, 'several sessions: this machine has one core')

test("sessions that are in each other's way: one", async () => {
  const { tuning, open } = await tuned({ all: n => 6 * n, share: n => 6 * n * SESSIONS * 3 }, SET)
  assert.is(tuning.instances, 1)
  assert.not(tuning.lone)
  assert.is(open, 1)
})

test('weights that do not fit several times are held once', async () => {
  const speed = { all: (n: number) => 10 * n, share: (n: number) => 10 * n }
  const { tuning, open } = await tuned(speed, { ...SET, weights: process.availableMemory() / 4 })
  assert.is(tuning.instances, 1)
  assert.is(open, 1)
})

test('batches as large as they pay; what is set is not measured', async () => {
  const fixed = { all: () => 20, share: () => 20 }
  assert.is((await tuned(fixed)).tuning.goodBatch, 32)
  const linear = { all: (n: number) => 20 * n, share: (n: number) => 20 * n }
  assert.is((await tuned(linear)).tuning.goodBatch, 1)
  const { tuning } = await tuned(linear, { settings: { ...DEFAULT_SETTINGS, maxBatch: 6, threads: 1 } })
  assert.equal(tuning, { maxBatch: 6, goodBatch: 6, instances: 1, threads: 1, lone: false })
  assert.is((await tuned(fixed, { batched: false })).tuning.maxBatch, 1)
})

test.run()
