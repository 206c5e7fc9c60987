/** The protocol between the process and the thread that owns an ONNX Runtime session. */

import type { DType } from '../../tensor/dtype.ts'
import { Tensor } from '../../tensor/tensor.ts'
import type { ModelSource, Port, SessionOptions, Traffic } from '../engine.ts'
import type { StateVector } from '../program.ts'
import type { PlacedNode } from './placement.ts'

/** A tensor as it crosses threads. */
export interface WireTensor {
  readonly dtype: DType
  readonly dims: readonly number[]
  readonly data: Uint8Array | readonly Uint8Array[]
}

export type WireFeeds = readonly (readonly [name: string, tensor: WireTensor])[]

/** How the state of a program is carried from step to step: a row of STEPPERS. */
export type StepperName = 'alternating' | 'loop' | 'resident'

/** What a session thread must know of a training program. */
export interface StepPlan {
  readonly stepper: StepperName
  readonly state: readonly StateVector[]
  readonly metrics: readonly string[]
  /** For the `loop` stepper. */
  readonly loop?: LoopPlan
}

/** What the `loop` stepper must know beside it. */
export interface LoopPlan {
  /** The input of the Loop model that takes the number of steps. */
  readonly tripCount: string
  /** The same program with one step a run, for a device whose memory does not hold the Loop's second copy of the state. */
  readonly plain: Uint8Array
  /** Samples of a step, for messages. */
  readonly batchSize: number
  /** The most bytes of chunk inputs that one run may take. */
  readonly chunkBytes: number
}

/** Metrics of one step, by output name. */
export type WireMetrics = readonly (readonly [name: string, value: number])[]

/** The metrics of each step, what crossed the bus since the session was opened, and what was learned on the way. */
export interface StepResults {
  readonly metrics: readonly WireMetrics[]
  readonly traffic: Traffic
  /** Steps that are best sent at once from now on. */
  readonly chunk: number
  /** All remarks so far, for the person. */
  readonly notes: readonly string[]
}

/** Request name -> its arguments and its answer. */
export interface Requests {
  open: {
    arguments: {
      model: ModelSource
      options: SessionOptions
      providers: readonly ProviderSpec[]
      /** Outputs that stay on the device of the provider; the others come to the process. */
      deviceOutputs?: readonly string[]
    }
    result: { inputs: Port[]; outputs: Port[] }
  }
  run: {
    /** `lent`: the buffers of the feeds go back with the answer. */
    arguments: { feeds: WireFeeds; outputs: readonly string[] | null; lent?: boolean }
    result: { outputs: WireFeeds; returned: readonly ArrayBuffer[] }
  }
  /** Says how steps are made, before the first of the requests below. */
  prepareSteps: { arguments: StepPlan; result: null }
  writeState: { arguments: { state: WireFeeds }; result: null }
  readState: { arguments: null; result: WireFeeds }
  steps: { arguments: { batches: readonly WireFeeds[] }; result: StepResults }
  /** Ends the profile that the session was opened with (`options.profile`), and says where nodes ran. */
  placement: { arguments: { prefix: string }; result: readonly PlacedNode[] }
  /** Ends the thread without an answer. */
  crash: { arguments: null; result: null }
  close: { arguments: null; result: null }
}

/** An execution provider of ONNX Runtime: a name, or a name with options. */
export type ProviderSpec = string | { readonly name: string; readonly [option: string]: unknown }

export interface Request<K extends keyof Requests = keyof Requests> {
  readonly id: number
  readonly kind: K
  readonly arguments: Requests[K]['arguments']
}

export type Response =
  | { readonly id: number; readonly result: Requests[keyof Requests]['result'] }
  /** `cure` comes with errors of the machine, not of the model. */
  | { readonly id: number; readonly error: string; readonly cure?: string }

export function toWire(tensor: Tensor): WireTensor {
  if (!tensor.resident) throw new Error('internal: a tensor that is fed must be in memory')
  return { dtype: tensor.dtype, dims: tensor.dims, data: tensor.data as Uint8Array | readonly Uint8Array[] }
}

export function fromWire(wire: WireTensor): Tensor {
  return new Tensor(wire.dtype, wire.dims, wire.data)
}

/** All buffers of wire tensors; no tensor may be a view of a buffer that something else uses. */
export function buffersOf(feeds: WireFeeds): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>()
  for (const [, { data }] of feeds) {
    if (data instanceof Uint8Array && data.buffer instanceof ArrayBuffer) buffers.add(data.buffer)
  }
  return [...buffers]
}

/** The buffers of wire tensors, for hand-over without a copy; views of larger buffers are left to be copied. */
export function transferables(feeds: WireFeeds): ArrayBuffer[] {
  const buffers = new Set<ArrayBuffer>()
  for (const [, { data }] of feeds) {
    if (!(data instanceof Uint8Array) || !(data.buffer instanceof ArrayBuffer)) continue
    if (data.byteLength === data.buffer.byteLength) buffers.add(data.buffer)
  }
  return [...buffers]
}
