/** Who runs what, with sessions that a test holds in its hands. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { Feeds, Lender, Runner } from '../../src/runtime/engine.ts'
import { buffers } from '../../src/serve/execution/buffers.ts'
import { Instance } from '../../src/serve/execution/instance.ts'
import { Scheduler, type BatchPolicy } from '../../src/serve/execution/scheduler.ts'
import { Statistics } from '../../src/serve/execution/statistics.ts'
import { Work, type Memory } from '../../src/serve/execution/work.ts'
import { ServeError } from '../../src/serve/protocol/errors.ts'
import { Body, BodyBudget } from '../../src/serve/http/body.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

/** A session that answers when it is told to: `y` is `x`. As a thread would, it takes the memory of what it is given. */
class HeldRunner implements Runner {
  readonly inputs = []
  readonly outputs = []
  readonly runs: { readonly feeds: Feeds; readonly items: number; answer(): void; die(): void }[] = []
  alive = true

  run(feeds: Feeds, _outputs?: readonly string[], lender?: Lender): Promise<Map<string, Tensor>> {
    const x = feeds.get('x')!
    const { buffer } = x.data as Uint8Array<ArrayBuffer>
    const copy = new Tensor(x.dtype, x.dims, Uint8Array.from(x.data as Uint8Array))
    const taken = structuredClone(buffer, { transfer: [buffer] })
    return new Promise((resolve, reject) => {
      this.runs.push({
        feeds: new Map([['x', copy]]),
        items: x.dims[0]!,
        answer: () => {
          lender?.give(taken)
          resolve(new Map([['y', copy]]))
        },
        die: () => {
          this.alive = false
          reject(new Error('the session thread ended'))
        },
      })
    })
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

const POLICY: BatchPolicy = { maxBatch: 8, goodBatch: 8, maxDelay: 0, maxQueue: 100 }

function setUp(sessions: number, { lone = false, policy = {} } = {}) {
  const runners = Array.from({ length: sessions + Number(lone) }, () => new HeldRunner())
  // A session that ends is not opened again while the test looks.
  const never = () => new Promise<Runner>(() => undefined)
  const silent = { crashed: () => undefined, opened: () => undefined, failed: () => undefined }
  const instances = runners.map(runner => new Instance(runner, never, silent))
  const statistics = new Statistics({ request: () => undefined, batch: () => undefined })
  const [first, others] = lone ? [instances[0]!, instances.slice(1)] : [null, instances]
  const scheduler = new Scheduler(others, first, ['y'], { ...POLICY, ...policy }, statistics)
  return { runners, scheduler }
}

function submit(scheduler: Scheduler, value: number, memory?: Memory): Work {
  const x = Tensor.of('float32', [1, 2], Float32Array.of(value, -value))
  const work = new Work(new Map([['x', x]]), 1, 'x', { outputs: null, timeout: Infinity, memory })
  scheduler.submit(work)
  return work
}

const settled = () => new Promise(resolve => setImmediate(() => setImmediate(resolve)))
const answered = async (work: Work) => (await work.done).get('y')!.toNumbers()
const counts = (runners: readonly HeldRunner[]) => runners.map(({ runs }) => runs.map(({ items }) => items))

test('what comes at one time is shared by the sessions that are free, and later by whoever is', async () => {
  const { runners, scheduler } = setUp(2)
  const works = [1, 2, 3, 4, 5].map(value => submit(scheduler, value))
  assert.is(scheduler.waiting, 5, 'nothing runs before all of it has been read')
  await settled()
  assert.equal(counts(runners), [[3], [2]])
  works.push(...[6, 7, 8].map(value => submit(scheduler, value)))
  await settled()
  assert.equal(counts(runners), [[3], [2]], 'both are busy')
  runners[1]!.runs[0]!.answer()
  await settled()
  assert.equal(counts(runners), [[3], [2, 3]])
  runners[0]!.runs[0]!.answer()
  runners[1]!.runs[1]!.answer()
  for (const [i, work] of works.entries()) assert.equal(await answered(work), [i + 1, -i - 1])
  assert.is(scheduler.pending, 0)
})

test('a lone request has the session of all threads; under load it rests, unless no other is there', async () => {
  const { runners, scheduler } = setUp(2, { lone: true })
  const first = submit(scheduler, 1)
  await settled()
  assert.equal(counts(runners), [[1], [], []])
  const second = submit(scheduler, 2)
  await settled()
  assert.equal(counts(runners), [[1], [1], []], 'it is not alone any more')
  runners[0]!.runs[0]!.answer()
  runners[1]!.runs[0]!.answer()
  assert.equal(await answered(first), [1, -1])
  assert.equal(await answered(second), [2, -2])
  await settled()
  const both = [3, 4].map(value => submit(scheduler, value))
  await settled()
  assert.equal(counts(runners), [[1], [1, 1], [1]], 'two at one time')
  runners[1]!.runs[1]!.die()
  runners[2]!.runs[0]!.die()
  await settled()
  await settled()
  assert.equal(counts(runners), [[1, 2], [1, 1], [1]], 'the others have ended')
  runners[0]!.runs[1]!.answer()
  assert.equal(await Promise.all(both.map(answered)), [
    [3, -3],
    [4, -4],
  ])
})

test('samples that take no time go together in larger numbers than was measured, up to the most', async () => {
  const { runners, scheduler } = setUp(1, { policy: { goodBatch: 1, maxBatch: 4 } })
  const [runner] = runners as [HeldRunner]
  const works = [1, 2, 3].map(value => submit(scheduler, value))
  await settled()
  assert.equal(counts(runners), [[1]], 'before anything is known the measured size holds')
  runner.runs[0]!.answer()
  await settled()
  assert.equal(counts(runners), [[1, 2]])
  works.push(...[4, 5, 6, 7, 8].map(value => submit(scheduler, value)))
  runner.runs[1]!.answer()
  await settled()
  await settled()
  for (const run of runner.runs) run.answer()
  await settled()
  await settled()
  for (const run of runner.runs) run.answer()
  for (const [i, work] of works.entries()) assert.equal(await answered(work), [i + 1, -i - 1])
  assert.equal(counts(runners), [[1, 2, 4, 1]])
})

test('a queue is full when sessions are, not when many come at one time', async () => {
  const { runners, scheduler } = setUp(1, { policy: { maxBatch: 1, goodBatch: 1, maxQueue: 2 } })
  const works = [1, 2, 3, 4].map(value => submit(scheduler, value))
  const refused = await works[3]!.done.catch((error: unknown) => error)
  assert.match(String(refused), /the queue is full: 2 requests wait/)
  for (let i = 0; i < 3; i++) {
    await settled()
    runners[0]!.runs[i]!.answer()
    assert.equal(await answered(works[i]!), [i + 1, -i - 1])
  }
})

/** A request as a body of so many bytes brings it: a header of five bytes and a row of float32. */
function bodied(bytes: number, value: number): { readonly body: Body; readonly work: Work } {
  const all = buffers.take(bytes)
  const body = new Body(all.subarray(5, bytes), new BodyBudget(0), 0)
  const size = 4 * Math.floor((bytes - 64) / 4)
  const x = new Tensor('float32', [1, size / 4], body.bytes.subarray(59, 59 + size))
  x.view().fill(value as never)
  const work = new Work(new Map([['x', x]]), 1, 'x', { outputs: null, timeout: Infinity, memory: body })
  return { body, work }
}

test('a large body is lent to its run and comes back; a small one is copied', async () => {
  const { runners, scheduler } = setUp(1)
  for (const [bytes, lent] of [
    [1 << 18, true],
    [1 << 12, false],
  ] as const) {
    const { body, work } = bodied(bytes, 7)
    scheduler.submit(work)
    await settled()
    assert.is(body.bytes.byteLength, lent ? 0 : bytes - 5)
    runners[0]!.runs.at(-1)!.answer()
    const y = (await work.done).get('y')!
    assert.ok(y.toNumbers().every(number => number === 7))
    await settled()
    assert.is(body.bytes.byteLength, bytes - 5)
    assert.is(new Float32Array(body.buffer.slice(64, 68))[0], 7)
    body.release()
  }
})

test('memory that is lent is not used again before it is back, whoever has given the request up', async () => {
  const { runners, scheduler } = setUp(1)
  const { body, work } = bodied(1 << 18, 7)
  scheduler.submit(work)
  await settled()
  work.cancel()
  assert.match(String(await work.done.catch((error: unknown) => error)), /the client has gone/)
  body.release()
  const other = buffers.take(1 << 18)
  assert.ok(other.buffer.byteLength > 0)
  runners[0]!.runs[0]!.answer()
  await settled()
  assert.is(body.bytes.byteLength, (1 << 18) - 5, 'it came back')
  assert.is(buffers.take(1 << 18).buffer, body.buffer, 'and is used again')
})

test('a request whose memory is lost with a session is refused for now, others are run again', async () => {
  const { runners, scheduler } = setUp(2)
  const large = bodied(1 << 18, 1)
  const small = bodied(1 << 12, 2)
  scheduler.submit(large.work)
  scheduler.submit(small.work)
  await settled()
  runners[0]!.runs[0]!.die()
  const error = await large.work.done.catch((error: unknown) => error)
  assert.instance(error, ServeError)
  assert.is((error as ServeError).status, 503)
  assert.is((error as ServeError).retryAfter, 1)
  large.body.release()
  runners[1]!.runs[0]!.answer()
  assert.ok(
    (await small.work.done)
      .get('y')!
      .toNumbers()
      .every(number => number === 2),
  )
})

test.run()
