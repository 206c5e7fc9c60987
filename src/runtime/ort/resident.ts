/**
 * State on the device: the buffers that a step leaves there are what the next one reads. A part is in the process only
 * until the first step after it was written. Buffers are read through an Identity model whose output comes to the process:
 * the binding cannot download them (and ends the process when it is asked to).
 */

import type * as Ort from 'onnxruntime-node'
import { Builder } from '../../ir/builder.ts'
import { Graph } from '../../ir/graph.ts'
import { Value } from '../../ir/value.ts'
import { sizeOf } from '../../tensor/shape.ts'
import { invariant } from '../../util/errors.ts'
import type { Traffic } from '../engine.ts'
import { serializeLowered, type StatePart, type StateVector } from '../program.ts'
import type { OrtModule } from './load.ts'
import { fromWire, type StepPlan, type WireFeeds, type WireMetrics } from './messages.ts'
import type { Stepper, StepperHost } from './stepper.ts'
import { bindFeeds } from './tensors.ts'

const FLOAT_BYTES = 4

/** One run a step. The session keeps the state outputs on the device and is asked for all of its outputs each time. */
export class ResidentStepper implements Stepper {
  readonly #ort: OrtModule
  readonly #session: Ort.InferenceSession
  readonly #vectors: readonly StateVector[]
  readonly #metrics: readonly string[]
  readonly #host: StepperHost
  /** By graph input: a buffer on the device, or what was written and no step has read yet. */
  readonly #state = new Map<string, Ort.Tensor>()
  #reader: Ort.InferenceSession | null = null
  #traffic: Traffic = { steps: 0, runs: 0, batchBytes: 0, stateBytes: 0 }

  constructor(
    ort: OrtModule,
    session: Ort.InferenceSession,
    { state, metrics }: StepPlan,
    host: StepperHost,
  ) {
    this.#ort = ort
    this.#session = session
    this.#vectors = state
    this.#metrics = metrics
    this.#host = host
  }

  get traffic(): Traffic {
    return this.#traffic
  }

  write(state: WireFeeds): Promise<void> {
    for (const [name, wire] of state) {
      const given = fromWire(wire).view() as Float32Array
      const vector = this.#vectors.find(candidate => candidate.name === name)
      invariant(
        vector?.length === given.length,
        `state ${name} takes ${vector?.length ?? 0} values, got ${given.length}`,
      )
      for (const { input, offset, shape } of vector.parts) {
        const part = given.slice(offset, offset + sizeOf(shape))
        this.#replace(input, new this.#ort.Tensor('float32', part, shape))
      }
      this.#count({ stateBytes: vector.length * FLOAT_BYTES })
    }
    return Promise.resolve()
  }

  async read(): Promise<WireFeeds> {
    const vectors: [string, WireFeeds[number][1]][] = []
    for (const { name, length, parts } of this.#vectors) {
      const whole = new Float32Array(length)
      for (const part of parts) whole.set(await this.#download(part), part.offset)
      this.#count({ stateBytes: length * FLOAT_BYTES })
      vectors.push([name, { dtype: 'float32', dims: [length], data: new Uint8Array(whole.buffer) }])
    }
    return vectors
  }

  async steps(batches: readonly WireFeeds[]): Promise<WireMetrics[]> {
    const metrics: WireMetrics[] = []
    for (const batch of batches) metrics.push(await this.#step(batch))
    return metrics
  }

  async close(): Promise<void> {
    for (const tensor of this.#state.values()) discard(tensor)
    this.#state.clear()
    await this.#reader?.release()
    this.#reader = null
  }

  async #step(batch: WireFeeds): Promise<WireMetrics> {
    const parts = this.#vectors.flatMap(vector => vector.parts)
    const state = parts.map(({ input }) => [input, this.#part(input)] as const)
    const results = await this.#session.run({
      ...Object.fromEntries(state),
      ...bindFeeds(this.#ort, batch),
    })
    // A part whose output is its input is no output of the session: it stays as it is.
    for (const { input, output } of parts) if (input !== output) this.#replace(input, results[output]!)
    const fed = batch.reduce((sum, [, { data }]) => sum + (data as Uint8Array).byteLength, 0)
    this.#count({ steps: 1, runs: 1, batchBytes: fed + this.#metrics.length * FLOAT_BYTES })
    return this.#metrics.map(name => [name, Number((results[name]!.data as ArrayLike<number>)[0])] as const)
  }

  #part(input: string): Ort.Tensor {
    const tensor = this.#state.get(input)
    invariant(tensor, `state ${input} was never written`)
    return tensor
  }

  #replace(input: string, tensor: Ort.Tensor): void {
    const old = this.#state.get(input)
    if (old) discard(old)
    this.#state.set(input, tensor)
  }

  async #download({ input }: StatePart): Promise<Float32Array> {
    const tensor = this.#part(input)
    if (tensor.location === 'cpu') return tensor.data as Float32Array
    this.#reader ??= await this.#host.openBeside(await identityModel())
    const { y } = await this.#reader.run({ x: tensor })
    return y!.data as Float32Array
  }

  #count(more: Partial<Traffic>): void {
    const { steps, runs, batchBytes, stateBytes } = this.#traffic
    this.#traffic = {
      steps: steps + (more.steps ?? 0),
      runs: runs + (more.runs ?? 0),
      batchBytes: batchBytes + (more.batchBytes ?? 0),
      stateBytes: stateBytes + (more.stateBytes ?? 0),
    }
  }
}

function discard(tensor: Ort.Tensor): void {
  if (tensor.location !== 'cpu') tensor.dispose()
}

/** y = x, of any shape. */
function identityModel(): Promise<Uint8Array> {
  const op = new Builder(['x'])
  const graph = new Graph('read')
  const anything = { kind: 'tensor', dtype: 'float32', shape: null } as const
  graph.inputs = [new Value('x', anything)]
  const y = op.one('Identity', graph.inputs, { shape: [] })
  y.name = 'y'
  y.type = anything
  graph.outputs = [y]
  graph.nodes = op.nodes
  return serializeLowered({ graph, opset: 18 })
}
