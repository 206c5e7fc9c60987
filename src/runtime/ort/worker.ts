/**
 * The thread that owns one ONNX Runtime session. The binding's `run` blocks its thread, so sessions live here and the
 * process stays responsive. State of a training program stays in this thread between steps.
 */

import { parentPort } from 'node:worker_threads'
import type * as Ort from 'onnxruntime-node'
import { EnvironmentError, invariant, messageOf } from '../../util/errors.ts'
import type { Port } from '../engine.ts'
import { loadOrt, type OrtModule } from './load.ts'
import { transferables, type Request, type Requests, type Response, type WireFeeds } from './messages.ts'
import { CarriedState } from './state.ts'
import { dtypeOfOrt, fromOrt, toOrt } from './tensors.ts'

let ort: OrtModule
let session: Ort.InferenceSession | null = null
let state: CarriedState | null = null
let metricNames: readonly string[] = []

type Handlers = {
  [K in keyof Requests]: (argument: Requests[K]['arguments']) => Promise<Requests[K]['result']>
}

const handlers: Handlers = {
  async open({ model, options, providers }) {
    ort = await loadOrt()
    const sessionOptions: Ort.InferenceSession.SessionOptions = {
      executionProviders: providers,
      graphOptimizationLevel: options.optimization ?? 'all',
      enableMemPattern: options.memoryPattern ?? true,
      logSeverityLevel: 3,
      ...(options.threads === undefined ? {} : { intraOpNumThreads: options.threads }),
      ...(options.profile === undefined ? {} : { enableProfiling: true, profileFilePrefix: options.profile }),
    }
    session = await openSession(model, sessionOptions)
    return { inputs: session.inputMetadata.map(portOf), outputs: session.outputMetadata.map(portOf) }
  },

  async run({ feeds, outputs }) {
    const results = await opened().run(bind(feeds), outputs ? [...outputs] : [...opened().outputNames])
    return wireAll(results)
  },

  async declareState({ state: vectors, metrics }) {
    state = new CarriedState(ort, vectors)
    metricNames = metrics
    return Promise.resolve(null)
  },

  async writeState({ state: feeds }) {
    declared().write(feeds)
    return Promise.resolve(null)
  },

  async readState() {
    return Promise.resolve(declared().read())
  },

  async step({ feeds }) {
    const carried = declared()
    const metrics = Object.fromEntries(metricNames.map(name => [name, null]))
    const results = await opened().run(
      { ...carried.feeds, ...bind(feeds) },
      { ...carried.fetches, ...metrics },
    )
    carried.advance()
    return metricNames.map(name => [name, Number((results[name]!.data as ArrayLike<number>)[0])] as const)
  },

  async close() {
    state = null
    await session?.release()
    session = null
    return null
  },
}

// The binding has one overload for paths and one for bytes.
function openSession(
  model: string | Uint8Array,
  options: Ort.InferenceSession.SessionOptions,
): Promise<Ort.InferenceSession> {
  const { InferenceSession } = ort
  return typeof model === 'string'
    ? InferenceSession.create(model, options)
    : InferenceSession.create(model, options)
}

function opened(): Ort.InferenceSession {
  invariant(session, 'the session is not open')
  return session
}

function declared(): CarriedState {
  invariant(state, 'the state was not declared')
  return state
}

function bind(feeds: WireFeeds): Record<string, Ort.Tensor> {
  return Object.fromEntries(feeds.map(([name, tensor]) => [name, toOrt(ort, tensor, name)]))
}

function wireAll(results: Ort.InferenceSession.OnnxValueMapType): WireFeeds {
  return Object.entries(results).map(([name, value]) => [name, fromOrt(value, name)] as const)
}

function portOf(metadata: Ort.InferenceSession.ValueMetadata): Port {
  if (!metadata.isTensor) return { name: metadata.name, dtype: null, shape: [] }
  return { name: metadata.name, dtype: dtypeOfOrt(metadata.type), shape: [...metadata.shape] }
}

const port = parentPort
invariant(port, 'this module runs in a worker thread')
// Requests run strictly one after the other: the session and the state are shared.
let queue: Promise<void> = Promise.resolve()
port.on('message', (request: Request) => {
  queue = queue.then(async () => {
    let response: Response
    let transfer: ArrayBuffer[] = []
    try {
      const handler = handlers[request.kind] as (
        argument: unknown,
      ) => Promise<Requests[keyof Requests]['result']>
      const result = await handler(request.arguments)
      if (request.kind === 'run' || request.kind === 'readState')
        transfer = transferables(result as WireFeeds)
      response = { id: request.id, result }
    } catch (error) {
      const cure = error instanceof EnvironmentError ? error.cure : undefined
      response = { id: request.id, error: messageOf(error), ...(cure === undefined ? {} : { cure }) }
    }
    port.postMessage(response, transfer)
  })
})
