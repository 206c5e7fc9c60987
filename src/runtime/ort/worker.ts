/**
 * The thread that owns one ONNX Runtime session. The binding's `run` blocks its thread, so sessions live here and the
 * process stays responsive. State of a training program stays in this thread between steps.
 */

import { readFile } from 'node:fs/promises'
import { parentPort } from 'node:worker_threads'
import type * as Ort from 'onnxruntime-node'
import { EnvironmentError, invariant, messageOf } from '../../util/errors.ts'
import type { DataFile, Port } from '../engine.ts'
import { loadOrt, type OrtModule } from './load.ts'
import {
  buffersOf,
  transferables,
  type Request,
  type Requests,
  type Response,
  type WireFeeds,
} from './messages.ts'
import { takePlacement } from './placement.ts'
import { STEPPERS, type Stepper } from './stepper.ts'
import { bindFeeds, dtypeOfOrt, fromOrt } from './tensors.ts'

let ort: OrtModule
/** With which the session was opened; the profile is among them until somebody asked for the placement. */
let openedWith: Ort.InferenceSession.SessionOptions = {}
let session: Ort.InferenceSession | null = null
let stepper: Stepper | null = null

type Handlers = {
  [K in keyof Requests]: (argument: Requests[K]['arguments']) => Promise<Requests[K]['result']>
}

const handlers: Handlers = {
  async open({ model, options, providers, deviceOutputs = [] }) {
    ort = await loadOrt()
    const sessionOptions: Ort.InferenceSession.SessionOptions = {
      executionProviders: providers,
      graphOptimizationLevel: options.optimization ?? 'all',
      enableMemPattern: options.memoryPattern ?? true,
      ...(options.spinning === false ? { extra: NOT_SPINNING } : {}),
      logSeverityLevel: options.printing === false ? 4 : 3,
      ...(options.threads === undefined ? {} : { intraOpNumThreads: options.threads }),
      ...(options.profile === undefined ? {} : { enableProfiling: true, profileFilePrefix: options.profile }),
      ...(deviceOutputs.length === 0 ? {} : { preferredOutputLocation: locationsOf(deviceOutputs) }),
    }
    openedWith = sessionOptions
    const externalData = await readAll(options.dataFiles ?? [])
    session = await openSession(
      model,
      externalData.length === 0 ? sessionOptions : { ...sessionOptions, externalData },
    )
    return { inputs: session.inputMetadata.map(portOf), outputs: session.outputMetadata.map(portOf) }
  },

  async run({ feeds, outputs, lent }) {
    const results = await opened().run(
      bindFeeds(ort, feeds),
      outputs ? [...outputs] : [...opened().outputNames],
    )
    return { outputs: wireAll(results), returned: lent ? buffersOf(feeds) : [] }
  },

  async prepareSteps(plan) {
    stepper = STEPPERS[plan.stepper](ort, opened(), plan, { openBeside, reopen })
    return Promise.resolve(null)
  },

  async writeState({ state }) {
    await prepared().write(state)
    return null
  },

  async readState() {
    return prepared().read()
  },

  async steps({ batches }) {
    const metrics = await prepared().steps(batches)
    const { traffic, chunk = 1, notes = [] } = prepared()
    return { metrics, traffic, chunk, notes }
  },

  placement({ prefix }) {
    opened().endProfiling()
    openedWith = { ...openedWith, enableProfiling: false }
    return Promise.resolve(takePlacement(prefix))
  },

  crash() {
    process.exit(1)
  },

  async close() {
    await stepper?.close()
    stepper = null
    await session?.release()
    session = null
    return null
  },
}

/** Threads of operators sleep as soon as they have nothing to do. */
const NOT_SPINNING = {
  session: { intra_op: { allow_spinning: '0' }, inter_op: { allow_spinning: '0' } },
}

function openBeside(model: Uint8Array): Promise<Ort.InferenceSession> {
  const { executionProviders = [] } = openedWith
  return openSession(model, { executionProviders, logSeverityLevel: 3 })
}

function readAll(files: readonly DataFile[]): Promise<{ path: string; data: Uint8Array }[]> {
  return Promise.all(files.map(async ({ name, path }) => ({ path: name, data: await readFile(path) })))
}

/** Outputs that are not named come to the process. */
function locationsOf(deviceOutputs: readonly string[]): Record<string, 'gpu-buffer'> {
  return Object.fromEntries(deviceOutputs.map(name => [name, 'gpu-buffer'] as const))
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

async function reopen(model: Uint8Array): Promise<Ort.InferenceSession> {
  // First the memory of the one, then the other.
  await session?.release()
  session = null
  session = await openSession(model, openedWith)
  return session
}

function opened(): Ort.InferenceSession {
  invariant(session, 'the session is not open')
  return session
}

function prepared(): Stepper {
  invariant(stepper, 'the steps were not prepared')
  return stepper
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
// A request that cannot be read, such as one with a buffer that was handed over before, would never be answered.
port.on('messageerror', error => {
  throw error
})
port.on('message', (request: Request) => {
  queue = queue.then(async () => {
    let response: Response
    let transfer: ArrayBuffer[] = []
    try {
      const handler = handlers[request.kind] as (
        argument: unknown,
      ) => Promise<Requests[keyof Requests]['result']>
      const result = await handler(request.arguments)
      if (request.kind === 'readState') transfer = transferables(result as WireFeeds)
      if (request.kind === 'run') {
        const { outputs, returned } = result as Requests['run']['result']
        transfer = [...transferables(outputs), ...returned]
      }
      response = { id: request.id, result }
    } catch (error) {
      const cure = error instanceof EnvironmentError ? error.cure : undefined
      response = { id: request.id, error: messageOf(error), ...(cure === undefined ? {} : { cure }) }
    }
    port.postMessage(response, transfer)
  })
})
