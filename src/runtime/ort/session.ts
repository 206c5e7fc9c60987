/** The process's end of a session thread: requests out, answers in, one clear error if the thread dies. */

import type { Worker } from 'node:worker_threads'
import { EnvironmentError, InputError, messageOf } from '../../util/errors.ts'
import type { Tensor } from '../../tensor/tensor.ts'
import type { Feeds, ModelSource, Runner, SessionOptions, Traffic, Trainer } from '../engine.ts'
import type { Program } from '../program.ts'
import { countNative } from '../../util/native-work.ts'
import { startWorker } from '../../util/thread.ts'
import { Lane } from './lane.ts'
import type { PlacementCheck } from './placement-check.ts'
import {
  buffersOf,
  fromWire,
  toWire,
  transferables,
  type ProviderSpec,
  type Requests,
  type Response,
  type StepperName,
  type WireFeeds,
} from './messages.ts'
import { disableTelemetry } from './telemetry.ts'

interface Pending {
  readonly resolve: (result: never) => void
  readonly reject: (error: Error) => void
}

/** A session in a thread of its own. */
export class SessionThread {
  readonly #worker: Worker
  readonly #lane: Lane
  readonly #pending = new Map<number, Pending>()
  #nextId = 0
  #failure: Error | null = null

  /** `lane`: shared with other sessions where their requests must not overlap; default: one of its own. */
  constructor(lane = new Lane()) {
    disableTelemetry()
    this.#lane = lane
    this.#worker = startWorker('./worker', import.meta.url)
    this.#worker.on('message', (response: Response) => this.#settle(response))
    this.#worker.on('error', error => this.#fail(`the session thread failed: ${messageOf(error)}`))
    this.#worker.on('exit', code => this.#fail(`the session thread ended (code ${code})`))
  }

  request<K extends keyof Requests>(
    kind: K,
    argument: Requests[K]['arguments'],
    transfer: ArrayBuffer[] = [],
  ): Promise<Requests[K]['result']> {
    return this.#lane.run(() => countNative(this.#post(kind, argument, transfer)))
  }

  #post<K extends keyof Requests>(
    kind: K,
    argument: Requests[K]['arguments'],
    transfer: ArrayBuffer[] = [],
  ): Promise<Requests[K]['result']> {
    if (this.#failure) return Promise.reject(this.#failure)
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject })
      this.#worker.postMessage({ id, kind, arguments: argument }, transfer)
    })
  }

  /** Whether requests can still be made. */
  get alive(): boolean {
    return this.#failure === null
  }

  /** Ends the thread as an error in it would: after the run that is going on, whose native code cannot be left. */
  crash(): Promise<void> {
    return new Promise(resolve => {
      if (this.#failure) {
        resolve()
        return
      }
      this.#worker.once('exit', () => resolve())
      this.#worker.postMessage({ id: -1, kind: 'crash', arguments: null })
    })
  }

  close(): Promise<void> {
    return this.#lane.run(async () => {
      if (this.#failure) return
      await this.#post('close', null)
      this.#failure = new EnvironmentError('the session was closed')
      await this.#worker.terminate()
    })
  }

  #settle(response: Response): void {
    const pending = this.#pending.get(response.id)
    this.#pending.delete(response.id)
    if ('error' in response) pending?.reject(errorOf(response))
    else pending?.resolve(response.result as never)
  }

  #fail(message: string): void {
    this.#failure ??= new EnvironmentError(message)
    for (const { reject } of this.#pending.values()) reject(this.#failure)
    this.#pending.clear()
  }
}

function errorOf({ error, cure }: Extract<Response, { error: string }>): Error {
  if (cure === undefined) return new InputError(`onnxruntime: ${error}`)
  return new EnvironmentError(`onnxruntime: ${error}`, { cure })
}

/** Opens a model for inference on the given execution providers. */
export async function openRunner(
  model: ModelSource,
  providers: readonly ProviderSpec[],
  options: SessionOptions,
  lane?: Lane,
): Promise<Runner> {
  const thread = new SessionThread(lane)
  const ports = await openThread(thread, { model, options, providers })
  return {
    ...ports,
    async run(feeds, outputs, lender) {
      const wired = wire(feeds)
      const request = { feeds: wired, outputs: outputs ?? null, lent: lender !== undefined }
      const result = await thread.request('run', request, lender ? buffersOf(wired) : [])
      for (const buffer of result.returned) lender?.give(buffer)
      return unwire(result.outputs)
    },
    close: () => thread.close(),
    get alive() {
      return thread.alive
    },
    crash: () => thread.crash(),
  }
}

/** How a training program is opened, beside its session options. */
export interface TrainerSetup {
  readonly providers: readonly ProviderSpec[]
  readonly options: SessionOptions
  readonly stepper: StepperName
  /** See SessionThread. */
  readonly lane?: Lane
  /** Outputs that stay on the device of the provider; the `resident` stepper wants those of the state. */
  readonly deviceOutputs?: readonly string[]
  /** Says after the first steps where the nodes ran. */
  readonly placement?: PlacementCheck
  /** What was known before the session was opened. */
  readonly notes?: readonly string[]
}

/** Opens a lowered, serialized training program; its state must be written before the first step. */
export async function openTrainer(
  program: Program,
  model: Uint8Array,
  { providers, options, stepper, lane, deviceOutputs = [], placement, notes = [] }: TrainerSetup,
): Promise<Trainer> {
  const thread = new SessionThread(lane)
  const close = async () => {
    await thread.close()
    placement?.close()
  }
  try {
    await openThread(thread, { model, options: placement?.options ?? options, providers, deviceOutputs })
    await thread.request('prepareSteps', { stepper, state: program.state, metrics: program.metrics })
  } catch (error) {
    await close()
    throw error
  }
  let traffic: Traffic = { steps: 0, runs: 0, batchBytes: 0, stateBytes: 0 }
  return {
    chunk: 1,
    get notes() {
      return [...notes, ...(placement?.notes ?? [])]
    },
    get traffic() {
      return traffic
    },
    async steps(batches) {
      const wired = batches.map(wire)
      const stepped = thread.request('steps', { batches: wired }, transferables(wired.flat()))
      // Asked for now, so that it comes before further steps.
      const [results] = await Promise.all([stepped, placement?.take(thread)])
      traffic = results.traffic
      return results.metrics.map(metrics => new Map(metrics))
    },
    async readState() {
      return unwire(await thread.request('readState', null))
    },
    async writeState(state) {
      const wired = wire(state)
      await thread.request('writeState', { state: wired }, transferables(wired))
    },
    close,
  }
}

/** Opens a model in a thread; closes the thread where that fails. */
export async function openThread(
  thread: SessionThread,
  how: Requests['open']['arguments'],
): Promise<Requests['open']['result']> {
  try {
    return await thread.request('open', how)
  } catch (error) {
    await thread.close()
    throw error
  }
}

export function wire(feeds: Feeds): WireFeeds {
  return [...feeds].map(([name, tensor]) => [name, toWire(tensor)] as const)
}

export function unwire(feeds: WireFeeds): Map<string, Tensor> {
  return new Map(feeds.map(([name, tensor]) => [name, fromWire(tensor)]))
}
