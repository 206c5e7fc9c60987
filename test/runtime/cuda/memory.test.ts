/** A device whose memory runs out: the loop stepper over a session that fails above a size. */

import type * as Ort from 'onnxruntime-node'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type { OrtModule } from '../../../src/runtime/ort/load.ts'
import { LoopStepper } from '../../../src/runtime/ort/loop.ts'
import { memoryFailure } from '../../../src/runtime/ort/memory.ts'
import { toWire, type WireFeeds } from '../../../src/runtime/ort/messages.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { errorOf } from '../../support/errors.ts'

const OUT_OF_MEMORY =
  'Non-zero status code returned while running Conv node. Status Message: bfc_arena.cc:376 void* ' +
  'onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) Failed to allocate memory for requested buffer of size 3221225472'

interface FakeTensor {
  readonly data: Float32Array | BigInt64Array
}

/** What a step does: s' = 2s + x, loss = s. Fails where it is asked for more than `holds` steps. */
function fakeSession(holds: number, log: (number | string)[], failure = OUT_OF_MEMORY): Ort.InferenceSession {
  return {
    // eslint-disable-next-line @typescript-eslint/require-await -- the binding rejects, it does not throw
    async run(feeds: Record<string, FakeTensor>, fetches: Record<string, FakeTensor | null>) {
      const steps = feeds['steps']
      const count = steps ? Number(steps.data[0]) : 1
      log.push(steps ? count : 'plain')
      if (count > holds) throw new Error(failure)
      let s = feeds['s']!.data[0] as number
      const losses: number[] = []
      for (const x of feeds['x']!.data as Float32Array) {
        losses.push(s)
        s = 2 * s + x
      }
      ;(fetches["s'"]!.data as Float32Array)[0] = s
      return { "s'": fetches["s'"], loss: { data: Float32Array.from(losses) } }
    },
  } as unknown as Ort.InferenceSession
}

const ort = {
  Tensor: class {
    readonly type: string
    readonly data: unknown
    readonly dims: readonly number[]
    constructor(type: string, data: unknown, dims: readonly number[]) {
      this.type = type
      this.data = data
      this.dims = dims
    }
  },
} as unknown as OrtModule

function stepperOf(session: Ort.InferenceSession, plain: () => Ort.InferenceSession): LoopStepper {
  const plan = {
    stepper: 'loop' as const,
    state: [{ name: 'v', length: 1, parts: [{ input: 's', output: "s'", offset: 0, shape: [] }] }],
    metrics: ['loss'],
    loop: { tripCount: 'steps', plain: new Uint8Array([7]), batchSize: 32, chunkBytes: 1000 },
  }
  return new LoopStepper(ort, session, plan, {
    openBeside: () => Promise.reject(new Error('a further session was opened')),
    reopen(model) {
      assert.equal(model, new Uint8Array([7]))
      return Promise.resolve(plain())
    },
  })
}

/** Where the Loop holds, nobody asks for the plain program. */
function noPlain(): Ort.InferenceSession {
  throw new Error('the plain program was opened')
}

function chunk(values: readonly number[]): WireFeeds {
  return [['x', toWire(Tensor.of('float32', [values.length], values))]]
}

const X = [1, 2, 3, 4, 5, 6, 7]
/** Losses of the steps from s = 1, and the last state. */
const LOSSES = [1, 3, 8, 19, 42, 89, 184]
const LAST = 375

async function check(stepper: LoopStepper): Promise<void> {
  await stepper.write([['v', toWire(Tensor.of('float32', [1], [1]))]])
  const metrics = await stepper.steps([chunk(X)])
  assert.equal(
    metrics.map(([loss]) => loss![1]),
    LOSSES,
  )
  const [[, state]] = (await stepper.read()) as [WireFeeds[number]]
  assert.equal(new Float32Array((state.data as Uint8Array).buffer), Float32Array.of(LAST))
}

test('a chunk that does not fit is made in halves, and the steps are the same', async () => {
  for (const [holds, runs] of [
    [7, [7]],
    [4, [7, 3, 3, 1]],
    [2, [7, 3, 1, 1, 1, 1, 1, 1, 1]],
    [1, [7, 3, 1, 1, 1, 1, 1, 1, 1]],
  ] as const) {
    const log: number[] = []
    const stepper = stepperOf(fakeSession(holds, log), noPlain)
    await check(stepper)
    assert.equal(log, runs)
    assert.ok(holds === 7 || stepper.chunk <= holds)
    assert.is(stepper.notes.length, runs.filter(count => count > holds).length)
  }
})

test('what was learned holds for the chunks after it', async () => {
  const log: number[] = []
  const stepper = stepperOf(fakeSession(4, log), noPlain)
  await check(stepper)
  assert.equal(stepper.notes, [
    'memory of the device: a run of 7 steps did not fit, from now on a run has at most 3',
  ])
  log.length = 0
  await stepper.steps([chunk(X)])
  assert.equal(log, [3, 3, 1])
  assert.is(stepper.notes.length, 1)
  // Eleven runs of one step and of three: advice stays below what memory holds.
  for (let i = 0; i < 6; i++) await stepper.steps([chunk([1]), chunk([1, 2, 3])])
  assert.ok(stepper.chunk <= 3, `${stepper.chunk}`)
})

test('where not even one step fits into the Loop, the plain program takes over', async () => {
  const log: (number | string)[] = []
  let plains = 0
  const stepper = stepperOf(fakeSession(0, log), () => {
    plains++
    return fakeSession(1, log)
  })
  await check(stepper)
  assert.equal(log, [7, 3, 1, ...new Array<string>(7).fill('plain')])
  assert.is(plains, 1)
  assert.is(stepper.chunk, 1)
  assert.is(stepper.notes.length, 3)
  assert.match(stepper.notes[2]!, /^memory of the device: it does not hold the state twice/)
  // x is 4 bytes a step, the loss 4, the state 4 each way: a run for each step, no trip count.
  assert.equal(stepper.traffic, { steps: 7, runs: 7, batchBytes: 7 * 8, stateBytes: 7 * 8 })
})

test('where that does not fit either, one error says so, with the size and the cure', async () => {
  const stepper = stepperOf(fakeSession(0, []), () => fakeSession(0, []))
  const error = await errorOf(check(stepper))
  assert.is(error.exitCode, 4)
  assert.is(
    error.message,
    'training: one step on 32 samples does not fit into the memory of the device (it had no block of 3.0 GiB left)',
  )
  assert.is(error.cure, 'use a --batch-size smaller than 32, or close what else uses the device')
  assert.is((await errorOf(stepper.read())).message, error.message)
})

test('other failures are not taken for want of memory', async () => {
  const log: number[] = []
  const stepper = stepperOf(fakeSession(4, log, 'Invalid Feed Input Name'), noPlain)
  try {
    await check(stepper)
    assert.unreachable()
  } catch (error) {
    assert.is((error as Error).message, 'Invalid Feed Input Name')
  }
  assert.equal(log, [7])
})

test('words for want of memory', () => {
  const rows: readonly (readonly [string, ReturnType<typeof memoryFailure>])[] = [
    [OUT_OF_MEMORY, { requested: 3221225472 }],
    [
      'CUDA failure 2: out of memory ; GPU=0 ; hostname=x ; expr=cudaMalloc((void**)&p, size);',
      { requested: null },
    ],
    ['CUDA out of memory', { requested: null }],
    ['CUDNN failure 4002: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED', { requested: null }],
    ['CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED', { requested: null }],
    ['std::bad_alloc: bad allocation', { requested: null }],
    ['CUDA failure 209: no kernel image is available', null],
    ['indices element out of data bounds', null],
  ]
  for (const [message, expected] of rows) assert.equal(memoryFailure(message), expected, message)
})

test('the bytes of chunk inputs have a bound', async () => {
  const stepper = stepperOf(fakeSession(7, []), noPlain)
  await stepper.write([['v', toWire(Tensor.of('float32', [1], [1]))]])
  const wide = (count: number): WireFeeds => [
    ['x', toWire(Tensor.of('float32', [count, 100], new Float32Array(100 * count)))],
  ]
  // 400 bytes a step of 1000: two steps at most.
  for (let i = 0; i < 9; i++) await stepper.steps([wide(stepper.chunk)])
  assert.ok(stepper.chunk <= 2, `${stepper.chunk}`)
})

test.run()
