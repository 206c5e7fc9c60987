/** Answers the engine's requests with a tfjs module, in the thread that it runs in. */

import type { Tensor } from '../../tensor/tensor.ts'
import { invariant } from '../../util/errors.ts'
import type { Feeds } from '../engine.ts'
import { fromWire, toWire, type WireFeeds } from '../ort/messages.ts'
import type { Handlers } from '../../util/channel.ts'
import type { Loaded } from './loaded.ts'
import type { Requests, SessionId } from './messages.ts'
import { TfjsModel, type Tfjs } from './model.ts'
import { readGraph } from './read-graph.ts'
import { TfjsTraining } from './training.ts'

/** `start` loads tfjs, once, when it is first needed. */
export function tfjsHandlers(start: () => Promise<Tfjs & { readonly loaded: Loaded }>): Handlers<Requests> {
  const models = new Map<SessionId, TfjsModel>()
  const trainings = new Map<SessionId, TfjsTraining>()
  let nextId = 0
  const found = <T>(map: ReadonlyMap<SessionId, T>, id: SessionId): T => {
    const session = map.get(id)
    invariant(session, `tfjs session ${id} is not open`)
    return session
  }
  return {
    load: async () => (await start()).loaded,

    async open({ model }) {
      const session = new TfjsModel(await start(), await readGraph(model))
      const id = nextId++
      models.set(id, session)
      return { id, inputs: session.inputs, outputs: session.outputs }
    },

    run: async ({ id, feeds, outputs }) => wire(await found(models, id).run(unwire(feeds), outputs)),

    async train({ model, state, metrics }) {
      const id = nextId++
      trainings.set(id, new TfjsTraining(await start(), await readGraph(model), state, metrics))
      return id
    },

    async steps({ id, batches }) {
      const training = found(trainings, id)
      const metrics: (readonly (readonly [string, number])[])[] = []
      for (const batch of batches) metrics.push([...(await training.step(unwire(batch)))])
      return { metrics, traffic: training.traffic }
    },

    readState: async ({ id }) => wire(await found(trainings, id).read()),

    writeState({ id, state }) {
      found(trainings, id).write(unwire(state))
      return Promise.resolve(null)
    },

    close({ id }) {
      models.get(id)?.close()
      trainings.get(id)?.close()
      models.delete(id)
      trainings.delete(id)
      return Promise.resolve(null)
    },

    async memory() {
      const { numTensors, numBytes } = (await start()).tf.memory()
      return { tensors: numTensors, bytes: numBytes }
    },
  }
}

export function wire(feeds: Feeds): WireFeeds {
  return [...feeds].map(([name, tensor]) => [name, toWire(tensor)] as const)
}

export function unwire(feeds: WireFeeds): Map<string, Tensor> {
  return new Map(feeds.map(([name, tensor]) => [name, fromWire(tensor)]))
}
