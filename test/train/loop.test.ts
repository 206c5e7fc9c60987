/** The loop with an engine that wants seven steps at once: nothing but speed depends on it. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Feeds, StepMetrics, Trainer } from '../../src/runtime/engine.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { runLoop, type LoopOptions } from '../../src/train/loop.ts'
import { EnvironmentError, InterruptedError } from '../../src/util/errors.ts'
import { errorOf } from '../support/errors.ts'

/** The state after a step depends on every batch and scalar before it, and on their order. */
const advance = (state: number, batch: number, lr: number) => (state * 31 + batch * 7 + lr) % 1_000_003

interface Fake extends Trainer {
  state: number
  /** How many steps each call had. */
  readonly calls: number[]
  chunk: number
}

/** `brokenAt`: the step whose loss is not a number; its state, and all later ones, are not either. */
function fakeTrainer(chunk: number, settings: { brokenAt?: number; firstChunk?: number } = {}): Fake {
  let done = 0
  let queue = Promise.resolve()
  const one = (feeds: Feeds): StepMetrics => {
    done++
    const [batch, lr] = ['x', 'lr'].map(name => feeds.get(name)!.toNumbers()[0]!)
    trainer.state = done >= (settings.brokenAt ?? Infinity) ? NaN : advance(trainer.state, batch!, lr!)
    return new Map([['loss', trainer.state]])
  }
  const trainer: Fake = {
    state: 1,
    calls: [],
    chunk: settings.firstChunk ?? chunk,
    notes: [],
    traffic: { steps: 0, runs: 0, batchBytes: 0, stateBytes: 0 },
    steps(batches) {
      trainer.calls.push(batches.length)
      const result = queue.then(async () => {
        await new Promise(resolve => setTimeout(resolve, 1))
        trainer.chunk = chunk
        return batches.map(one)
      })
      queue = result.then(() => undefined)
      return result
    },
    readState: () => Promise.resolve(new Map()),
    writeState: () => Promise.resolve(),
    close: () => Promise.resolve(),
  }
  return trainer
}

/** Steps are numbered from 1; each has a batch of its own. */
async function* batchesFrom(done: number, end = Infinity): AsyncGenerator<Map<string, Tensor>> {
  for (let step = done + 1; step <= end; step++) {
    await Promise.resolve()
    yield new Map([['x', Tensor.scalar('float32', step * 13)]])
  }
}

interface Log {
  /** Stops, and the state that was found there. */
  readonly stops: [step: number, state: number][]
  readonly steps: number[]
}

function options(
  trainer: Fake,
  isStop: (step: number) => boolean,
  more: Partial<LoopOptions> = {},
): LoopOptions & Log {
  const log: Log = { stops: [], steps: [] }
  return {
    ...{ trainer, isStop, firstStep: 0, lastStep: 50, batches: batchesFrom(more.firstStep ?? 0) },
    scalarsAt: step => new Map([['lr', Tensor.scalar('float32', step % 5)]]),
    onStop: step => {
      log.stops.push([step, trainer.state])
      return Promise.resolve()
    },
    onStep: step => log.steps.push(step),
    ...more,
    ...log,
  }
}

/** The state after each step, by the formula. */
function expectedStates(last: number): number[] {
  const states = [1]
  for (let step = 1; step <= last; step++) states.push(advance(states[step - 1]!, step * 13, step % 5))
  return states
}

const STATES = expectedStates(50)
const upTo = (last: number, first = 1) => Array.from({ length: last - first + 1 }, (_, i) => first + i)

for (const [chunk, firstChunk] of [
  [1, 1],
  [7, 7],
  [7, 1],
  [100, 100],
] as const) {
  test(`chunks of ${chunk}, at first ${firstChunk}: every stop finds the state of its own step`, async () => {
    const trainer = fakeTrainer(chunk, { firstChunk })
    const wanted = [3, 7, 14, 15, 16, 40]
    const run = options(trainer, step => wanted.includes(step))
    await runLoop(run)
    assert.equal(
      run.stops,
      [...wanted, 50].map(step => [step, STATES[step]!]),
    )
    assert.equal(run.steps, upTo(50))
    assert.ok(trainer.calls.every(steps => steps <= chunk))
  })
}

test('a stop that the clock asks for, at any step, changes nothing', async () => {
  for (let seed = 1; seed <= 20; seed++) {
    let random = seed
    const trainer = fakeTrainer(7)
    const run = options(trainer, () => (random = (random * 48271) % 2147483647) % 11 === 0)
    await runLoop(run)
    for (const [step, state] of run.stops) assert.is(state, STATES[step], `seed ${seed}, step ${step}`)
    assert.equal(run.steps, upTo(50))
  }
})

test('the whole chunk is used where no stop is due', async () => {
  const trainer = fakeTrainer(7)
  await runLoop(options(trainer, step => step === 10))
  assert.equal(trainer.calls, [7, 3, 7, 7, 7, 7, 7, 5])
})

test('a loss that is not a number in the middle of a chunk names its step, and no stop sees what came of it', async () => {
  for (const brokenAt of [1, 10, 14, 15, 50]) {
    const trainer = fakeTrainer(7, { brokenAt })
    const run = options(trainer, step => step % 10 === 0)
    const error = await errorOf(runLoop(run))
    assert.is(error.message, `training: loss became NaN at step ${brokenAt}`)
    assert.is(error.exitCode, 3)
    assert.equal(run.steps, upTo(brokenAt - 1))
    assert.equal(
      run.stops,
      [10, 20, 30, 40].filter(step => step < brokenAt).map(step => [step, STATES[step]!]),
    )
  }
})

test('an interruption stops after what was sent; continued from there, the end is the same', async () => {
  for (const abortAt of [1, 6, 7, 8, 20, 33]) {
    const controller = new AbortController()
    const trainer = fakeTrainer(7)
    const run = options(trainer, () => false, {
      signal: controller.signal,
      onStep: step => {
        if (step === abortAt) controller.abort(new InterruptedError('interrupted'))
      },
    })
    const error = await errorOf(runLoop(run))
    assert.is(error.exitCode, 130)
    const [stopped, state] = run.stops.at(-1)!
    assert.is(error.message, `training was interrupted after step ${stopped} of 50; its state is saved`)
    assert.is(state, STATES[stopped])
    assert.is(run.stops.length, 1)
    // The chunk in which it came, and the one that was in flight.
    assert.ok(stopped >= abortAt && stopped < abortAt + 14, `aborted at ${abortAt}, stopped at ${stopped}`)

    const resumed = fakeTrainer(7)
    resumed.state = state
    const rest = options(resumed, () => false, { firstStep: stopped })
    await runLoop(rest)
    assert.equal(rest.stops, [[50, STATES[50]!]])
    assert.equal(rest.steps, upTo(50, stopped + 1))
  }
})

test('an interruption before the first step leaves everything as it was', async () => {
  const trainer = fakeTrainer(7)
  const run = options(trainer, () => false, {
    signal: AbortSignal.abort(new InterruptedError('interrupted')),
  })
  const error = await errorOf(runLoop(run))
  assert.is(error.exitCode, 130)
  assert.equal([run.stops, run.steps, trainer.calls], [[], [], []])
})

test('an interruption in the last chunk, when all steps are sent, is none', async () => {
  const controller = new AbortController()
  const trainer = fakeTrainer(7)
  const run = options(trainer, () => false, {
    signal: controller.signal,
    onStep: step => {
      if (step === 50) controller.abort(new InterruptedError('interrupted'))
    },
  })
  await runLoop(run)
  assert.equal(run.stops, [[50, STATES[50]!]])
})

test('data that end early are an error, whatever was gathered', async () => {
  const run = options(fakeTrainer(7), () => false, { batches: batchesFrom(0, 20) })
  const error = await errorOf(runLoop(run))
  assert.is(error.message, 'data: it ended after step 20, expected 50 steps')
})

test('a trainer that fails in one chunk is one error, though the next is in flight', async () => {
  const trainer = fakeTrainer(7)
  const good = trainer.steps.bind(trainer)
  let call = 0
  trainer.steps = batches =>
    ++call >= 3 ? Promise.reject(new EnvironmentError(`call ${call}`)) : good(batches)
  const run = options(trainer, () => false)
  assert.is((await errorOf(runLoop(run))).message, 'call 3')
  assert.equal(run.steps, upTo(14))
})

test.run()
