/**
 * The thread that owns one ONNX Runtime session. The binding's `run` blocks its thread, so sessions live here and the
 * process stays responsive. State of a training program stays in this thread between steps.
 */

import { parentPort } from 'node:worker_threads'
import type * as Ort from 'onnxruntime-node'
import { invariant, messageOf } from '../../util/errors.ts'
import type { Port } from '../engine.ts'
import { loadOrt, type OrtModule } from './load.ts'
import {
  transferables,
  type Request,
  type Requests,
  type Response,
  type StateNames,
  type WireFeeds,
  type WireTensor,
} from './messages.ts'
import { dtypeOfOrt, fromOrt, toOrt } from './tensors.ts'

let ort: OrtModule
let session: Ort.InferenceSession | null = null
let stateNames: readonly StateNames[] = []
let metricNames: readonly string[] = []
/** Carried tensors by graph input name; each step's outputs become the next step's inputs without a copy of ours. */
let state: Record<string, Ort.Tensor> = {}

type Handlers = {
  [K in keyof Requests]: (argument: Requests[K]['arguments']) => Promise<Requests[K]['result']>
}

const handlers: Handlers = {
  async open({ model, options, providers }) {
    ort = await loadOrt()
    const sessionOptions: Ort.InferenceSession.SessionOptions = {
      executionProviders: providers,
      graphOptimizationLevel: options.optimization ?? 'all',
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

  async declareState({ state: names, metrics }) {
    stateNames = names
    metricNames = metrics
    return Promise.resolve(null)
  },

  async writeState({ state: feeds }) {
    const given = new Map(feeds)
    for (const { name, input } of stateNames) {
      const tensor = given.get(name)
      if (tensor) state[input] = toOrt(ort, tensor, name)
    }
    return Promise.resolve(null)
  },

  async readState() {
    const copy = ({ name, input }: StateNames): readonly [string, WireTensor] => {
      const tensor = state[input]
      invariant(tensor, `state ${name} was never written`)
      const wire = fromOrt(tensor, name)
      return [name, { ...wire, data: (wire.data as Uint8Array).slice() }]
    }
    return Promise.resolve(stateNames.map(copy))
  },

  async step({ feeds }) {
    const fetches = [...stateNames.map(names => names.output), ...metricNames]
    const results = await opened().run({ ...state, ...bind(feeds) }, fetches)
    const next: Record<string, Ort.Tensor> = {}
    for (const { input, output } of stateNames) next[input] = results[output] as Ort.Tensor
    state = next
    return metricNames.map(name => [name, Number((results[name]!.data as ArrayLike<number>)[0])] as const)
  },

  async close() {
    state = {}
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
      response = { id: request.id, error: messageOf(error) }
    }
    port.postMessage(response, transfer)
  })
})
