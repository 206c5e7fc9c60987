/** The bounded queue and the limiter. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Limiter, prefetch } from '../../src/data/prefetch.ts'

const tick = (ms = 1) => new Promise(resolve => setTimeout(resolve, ms))

test('results come in order, whatever takes longer; no more than asked for are under way', async () => {
  let started = 0
  let used = 0
  let most = 0
  const make = async (index: number) => {
    started++
    most = Math.max(most, started - used)
    await tick(index % 2 === 0 ? 5 : 0)
    return index
  }
  const results: number[] = []
  for await (const result of prefetch(2, 12, make, { ahead: 3 })) {
    results.push(result)
    await tick(2)
    used++
  }
  assert.equal(results, [2, 3, 4, 5, 6, 7, 8, 9, 10, 11])
  assert.is(most, 4, 'three ahead of the one in use')
})

test('later results are made while earlier ones are used', async () => {
  const started: number[] = []
  const make = (index: number) => Promise.resolve(started.push(index))
  for await (const _ of prefetch(0, 9, make, { ahead: 2 })) break
  assert.equal(started, [0, 1, 2])
})

test('nothing ahead is allowed', async () => {
  const results: number[] = []
  for await (const result of prefetch(0, 3, index => Promise.resolve(index), { ahead: 0 }))
    results.push(result)
  assert.equal(results, [0, 1, 2])
})

test('the first failure in order is thrown, once, after the results before it', async () => {
  let stop: AbortSignal | undefined
  const unhandled: unknown[] = []
  const listen = (error: unknown) => unhandled.push(error)
  process.on('unhandledRejection', listen)
  const make = async (index: number, signal: AbortSignal) => {
    stop = signal
    await tick(index === 2 ? 8 : 1)
    if (index >= 2) throw new Error(`broken ${index}`)
    return index
  }
  const results: number[] = []
  const errors: string[] = []
  try {
    for await (const result of prefetch(0, 9, make, { ahead: 4 })) results.push(result)
  } catch (error) {
    errors.push((error as Error).message)
  }
  await tick(5)
  process.off('unhandledRejection', listen)
  assert.equal(results, [0, 1])
  assert.equal(errors, ['broken 2'])
  assert.equal(unhandled, [])
  assert.ok(stop!.aborted)
})

test('an abort stops the work and throws its reason', async () => {
  const controller = new AbortController()
  const reason = new Error('enough')
  let started = 0
  let inner: AbortSignal | undefined
  const make = async (index: number, signal: AbortSignal) => {
    started++
    inner = signal
    await tick()
    return index
  }
  const results: number[] = []
  let thrown: unknown
  try {
    for await (const result of prefetch(0, 100, make, { ahead: 2, signal: controller.signal })) {
      results.push(result)
      if (result === 1) controller.abort(reason)
    }
  } catch (error) {
    thrown = error
  }
  assert.is(thrown, reason)
  assert.equal(results, [0, 1])
  assert.ok(started <= 4 && inner!.aborted)
  const late = prefetch(0, 1, make, { ahead: 0, signal: controller.signal })
  thrown = await late.next().catch((error: unknown) => error)
  assert.is(thrown, reason)
})

test('a consumer that leaves stops the work', async () => {
  let inner: AbortSignal | undefined
  const make = async (index: number, signal: AbortSignal) => {
    inner = signal
    await tick()
    return index
  }
  for await (const result of prefetch(0, 100, make, { ahead: 5 })) if (result === 1) break
  assert.ok(inner!.aborted)
})

test('the limiter runs no more than allowed, in order, and goes on after a failure', async () => {
  const limiter = new Limiter(2)
  const order: number[] = []
  let running = 0
  let most = 0
  const results = await Promise.allSettled(
    Array.from({ length: 7 }, (_, i) =>
      limiter.run(async () => {
        order.push(i)
        most = Math.max(most, ++running)
        await tick(i % 3)
        running--
        if (i === 3) throw new Error('broken')
        return i
      }),
    ),
  )
  assert.equal(order, [0, 1, 2, 3, 4, 5, 6])
  assert.is(most, 2)
  assert.equal(
    results.map(result => result.status === 'fulfilled'),
    [true, true, true, false, true, true, true],
  )
})

test.run()
