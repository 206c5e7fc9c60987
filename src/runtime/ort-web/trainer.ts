/**
 * Steps of a training program on onnxruntime-web. The outputs of a step are the state inputs of the next as they are: on
 * WebGPU they are buffers of the device and never leave it between steps.
 */

import type * as Ort from 'onnxruntime-web'
import { sizeOf } from '../../tensor/shape.ts'
import { Tensor } from '../../tensor/tensor.ts'
import { invariant } from '../../util/errors.ts'
import type { Feeds, SessionOptions, StepMetrics, Traffic, Trainer } from '../engine.ts'
import type { Program, StatePart, StateVector } from '../program.ts'
import type { LoadedOrt } from './load.ts'
import { bindTensors, named, openWebSession, type Provider } from './session.ts'

export interface WebTrainerSetup {
  readonly provider: Provider
  /** Whether the state is on a device between steps. */
  readonly onDevice: boolean
  readonly notes: readonly string[]
}

const FLOAT_BYTES = 4

/** Opens a lowered, serialized training program; its state must be written before the first step. */
export async function openWebTrainer(
  loaded: LoadedOrt,
  { state, metrics }: Program,
  model: Uint8Array,
  { provider, onDevice, notes }: WebTrainerSetup,
  options: SessionOptions,
): Promise<Trainer> {
  const outputs = state.flatMap(({ parts }) => parts.map(part => part.output))
  const session = await openWebSession(
    loaded,
    model,
    { provider, ...(onDevice ? { onDevice: outputs } : {}) },
    options,
  )
  const carried = new CarriedState(loaded, state)
  const traffic = { steps: 0, runs: 0, batchBytes: 0, stateBytes: 0 }
  const stateBytes = state.reduce((sum, { length }) => sum + length * FLOAT_BYTES, 0)
  let open = true

  const step = async (batch: Feeds): Promise<StepMetrics> => {
    const results = await named(session.run({ ...carried.feeds, ...bindTensors(loaded, batch) }))
    carried.take(results)
    traffic.steps++
    traffic.runs++
    if (onDevice) traffic.batchBytes += bytesOf(batch) + metrics.length * FLOAT_BYTES
    return new Map(metrics.map(name => [name, Number((results[name]!.data as ArrayLike<number>)[0])]))
  }

  return {
    chunk: 1,
    notes,
    get traffic(): Traffic {
      return { ...traffic }
    },
    steps: batches =>
      loaded.inTurn(async () => {
        invariant(open, 'the session was closed')
        const all: StepMetrics[] = []
        for (const batch of batches) all.push(await step(batch))
        return all
      }),
    readState: () =>
      loaded.inTurn(async () => {
        if (onDevice) traffic.stateBytes += stateBytes
        return carried.read()
      }),
    writeState: given =>
      loaded.inTurn(() => {
        if (onDevice) traffic.stateBytes += bytesOf(given)
        carried.write(given)
        return Promise.resolve()
      }),
    async close() {
      if (!open) return
      open = false
      await loaded.inTurn(() => {
        carried.dispose()
        return session.release()
      })
    },
  }
}

/** The state tensors between steps, by the graph input that reads them. */
class CarriedState {
  readonly #ort: LoadedOrt['ort']
  readonly #vectors: readonly StateVector[]
  readonly #tensors = new Map<StatePart, Ort.Tensor>()

  constructor({ ort }: LoadedOrt, vectors: readonly StateVector[]) {
    this.#ort = ort
    this.#vectors = vectors
  }

  /** What a step reads. */
  get feeds(): Record<string, Ort.Tensor> {
    const feeds: Record<string, Ort.Tensor> = {}
    for (const { name, parts } of this.#vectors) {
      for (const part of parts) {
        const tensor = this.#tensors.get(part)
        invariant(tensor, `state ${name} was never written`)
        feeds[part.input] = tensor
      }
    }
    return feeds
  }

  /** After a step: what it gave is the state; the memory of the one before is free. */
  take(results: Readonly<Record<string, Ort.Tensor>>): void {
    for (const { parts } of this.#vectors) for (const part of parts) this.#set(part, results[part.output]!)
  }

  write(feeds: Feeds): void {
    for (const [name, tensor] of feeds) {
      const vector = this.#vectors.find(candidate => candidate.name === name)
      const given = tensor.view() as Float32Array
      invariant(
        vector?.length === given.length,
        `state ${name} takes ${vector?.length ?? 0} values, got ${given.length}`,
      )
      for (const part of vector.parts) {
        const { offset, shape } = part
        this.#set(part, new this.#ort.Tensor('float32', given.slice(offset, offset + sizeOf(shape)), shape))
      }
    }
  }

  async read(): Promise<Map<string, Tensor>> {
    const state = new Map<string, Tensor>()
    for (const { name, length, parts } of this.#vectors) {
      const vector = new Float32Array(length)
      for (const part of parts) {
        const tensor = this.#tensors.get(part)
        invariant(tensor, `state ${name} was never written`)
        vector.set((await tensor.getData()) as Float32Array, part.offset)
      }
      state.set(name, Tensor.of('float32', [length], vector))
    }
    return state
  }

  dispose(): void {
    for (const tensor of this.#tensors.values()) tensor.dispose()
    this.#tensors.clear()
  }

  #set(part: StatePart, tensor: Ort.Tensor): void {
    this.#tensors.get(part)?.dispose()
    this.#tensors.set(part, tensor)
  }
}

function bytesOf(feeds: Feeds): number {
  return [...feeds.values()].reduce((sum, tensor) => sum + tensor.byteLength, 0)
}
