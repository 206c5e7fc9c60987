/**
 * State in the process: two buffers for each vector. A step reads views of one and writes views of the other (the
 * binding takes inputs without a copy and fills given outputs in place), then they change roles.
 */

import type * as Ort from 'onnxruntime-node'
import { sizeOf } from '../../tensor/shape.ts'
import { invariant } from '../../util/errors.ts'
import type { Traffic } from '../engine.ts'
import type { StateVector } from '../program.ts'
import type { OrtModule } from './load.ts'
import { fromWire, type StepPlan, type WireFeeds, type WireMetrics } from './messages.ts'
import type { Stepper } from './stepper.ts'
import { bindFeeds } from './tensors.ts'

type Bound = Record<string, Ort.Tensor>

/** One of the two roles of the buffers. */
interface Side {
  readonly buffers: Float32Array[]
  /** Tensors over the buffers, by graph input and by graph output. */
  readonly inputs: Bound
  readonly outputs: Bound
}

/** The two buffers of each state vector. */
export class AlternatingState {
  readonly #ort: OrtModule
  readonly #vectors: readonly StateVector[]
  #current: Side
  #next: Side
  readonly #written = new Set<string>()

  constructor(ort: OrtModule, vectors: readonly StateVector[]) {
    this.#ort = ort
    this.#vectors = vectors
    this.#current = side(ort, vectors)
    this.#next = side(ort, vectors)
  }

  /** What a step reads. */
  get feeds(): Bound {
    for (const { name } of this.#vectors)
      invariant(this.#written.has(name), `state ${name} was never written`)
    return this.#current.inputs
  }

  /** What a step fills. */
  get fetches(): Bound {
    return this.#next.outputs
  }

  /** After a step: what it filled is the state. */
  advance(): void {
    const filled = this.#next
    this.#next = this.#current
    this.#current = filled
  }

  write(feeds: WireFeeds): void {
    for (const [name, wire] of feeds) {
      const index = this.#vectors.findIndex(vector => vector.name === name)
      const vector = this.#vectors[index]
      const given = fromWire(wire).view() as Float32Array
      invariant(
        vector?.length === given.length,
        `state ${name} takes ${vector?.length ?? 0} values, got ${given.length}`,
      )
      // What was handed over becomes the buffer: a large state is not in memory once more.
      bind(this.#ort, this.#current, index, vector, given)
      this.#written.add(name)
    }
  }

  read(): WireFeeds {
    return this.#vectors.map(({ name, length }, i) => {
      const data = new Uint8Array(this.#current.buffers[i]!.slice().buffer)
      return [name, { dtype: 'float32', dims: [length], data }] as const
    })
  }
}

/** One run a step. */
export class AlternatingStepper implements Stepper {
  readonly #ort: OrtModule
  readonly #session: Ort.InferenceSession
  readonly #state: AlternatingState
  readonly #metrics: readonly string[]
  #steps = 0

  constructor(ort: OrtModule, session: Ort.InferenceSession, { state, metrics }: StepPlan) {
    this.#ort = ort
    this.#session = session
    this.#state = new AlternatingState(ort, state)
    this.#metrics = metrics
  }

  get traffic(): Traffic {
    return { steps: this.#steps, runs: this.#steps, batchBytes: 0, stateBytes: 0 }
  }

  write(state: WireFeeds): Promise<void> {
    this.#state.write(state)
    return Promise.resolve()
  }

  read(): Promise<WireFeeds> {
    return Promise.resolve(this.#state.read())
  }

  async steps(batches: readonly WireFeeds[]): Promise<WireMetrics[]> {
    const metrics: WireMetrics[] = []
    const wanted = Object.fromEntries(this.#metrics.map(name => [name, null]))
    for (const batch of batches) {
      const feeds = { ...this.#state.feeds, ...bindFeeds(this.#ort, batch) }
      const results = await this.#session.run(feeds, { ...this.#state.fetches, ...wanted })
      this.#state.advance()
      this.#steps++
      metrics.push(
        this.#metrics.map(name => [name, Number((results[name]!.data as ArrayLike<number>)[0])] as const),
      )
    }
    return metrics
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

function side(ort: OrtModule, vectors: readonly StateVector[]): Side {
  const made: Side = { buffers: [], inputs: {}, outputs: {} }
  vectors.forEach((vector, i) => {
    bind(ort, made, i, vector, new Float32Array(vector.length))
  })
  return made
}

/** Makes a buffer that of a vector. */
function bind(ort: OrtModule, side: Side, index: number, { parts }: StateVector, buffer: Float32Array): void {
  side.buffers[index] = buffer
  for (const { input, output, offset, shape } of parts) {
    const view = buffer.subarray(offset, offset + sizeOf(shape))
    side.inputs[input] = new ort.Tensor('float32', view, shape)
    side.outputs[output] = new ort.Tensor('float32', view, shape)
  }
}
