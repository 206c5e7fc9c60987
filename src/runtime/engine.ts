/** What an engine is: it runs inference on a model and steps of a training program. Engines differ in lowering and in where state lives. */

import type { Tensor } from '../tensor/tensor.ts'
import type { Program } from './program.ts'

/** Named tensors going into or coming out of a run. */
export type Feeds = ReadonlyMap<string, Tensor>

/** An input or output of a loaded model; symbolic dimensions are names or null. */
export interface Port {
  readonly name: string
  /** ONNX element type; null for sequences, maps and optionals. */
  readonly dtype: Tensor['dtype'] | null
  readonly shape: readonly (number | string | null)[]
}

export interface SessionOptions {
  /** Threads of one operator; default: all cores. */
  readonly threads?: number
  /** `disabled` runs the graph exactly as written. */
  readonly optimization?: 'disabled' | 'basic' | 'extended' | 'all'
  /** Plans the memory of a run in one block (default); off, blocks are taken and given back node by node. */
  readonly memoryPattern?: boolean
  /** Writes a Chrome trace with this file prefix when the session is closed. */
  readonly profile?: string
}

/** Where a model comes from: bytes, or a path (needed when it has external data). */
export type ModelSource = Uint8Array | string

/** A model ready for inference. Calls queue up; the process stays responsive. */
export interface Runner {
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
  /** Runs the model; asks for all outputs unless some are named. */
  run(feeds: Feeds, outputs?: readonly string[]): Promise<Map<string, Tensor>>
  close(): Promise<void>
}

/** The metrics of one training step: scalars by output name. */
export type StepMetrics = ReadonlyMap<string, number>

/** A training program with its state, which stays with the engine between steps. */
export interface Trainer {
  /** Runs one step for each element of `batches`, in order. The batches' memory is handed over: do not use it afterwards. */
  steps(batches: readonly Feeds[]): Promise<StepMetrics[]>
  /** A copy of the state tensors. */
  readState(): Promise<Map<string, Tensor>>
  writeState(state: Feeds): Promise<void>
  close(): Promise<void>
}

export interface Engine {
  /** `cpu`, `cuda`, `webgpu`, ... */
  readonly name: string
  /** Engine and version for reports. */
  readonly description: string
  openRunner(model: ModelSource, options?: SessionOptions): Promise<Runner>
  openTrainer(program: Program, options?: SessionOptions): Promise<Trainer>
}
