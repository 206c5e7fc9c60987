/**
 * What an engine is: it runs inference on a model and steps of a training program. Engines differ in their lowering, in
 * what they can compute, and in where state lives between steps; all of it is said here, so that callers need not ask
 * which engine they have.
 */

import type { DType } from '../tensor/dtype.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Lowered, Program } from './program.ts'

/** Named tensors going into or coming out of a run. */
export type Feeds = ReadonlyMap<string, Tensor>

/** An input or output of a loaded model; symbolic dimensions are names or null. */
export interface Port {
  readonly name: string
  /** ONNX element type; null for sequences, maps and optionals. */
  readonly dtype: Tensor['dtype'] | null
  readonly shape: readonly (number | string | null)[]
}

/** A file beside a model with weights of it. */
export interface DataFile {
  /** By which the model knows it. */
  readonly name: string
  readonly path: string
}

export interface SessionOptions {
  /** Threads of one operator; default: all cores. */
  readonly threads?: number
  /** `disabled` runs the graph exactly as written. */
  readonly optimization?: 'disabled' | 'basic' | 'extended' | 'all'
  /** Plans the memory of a run in one block (default); off, blocks are taken and given back node by node. */
  readonly memoryPattern?: boolean
  /** Whether threads of an operator wait for their next work awake (default), which takes a core from others. */
  readonly spinning?: boolean
  /** Whether the runtime prints the errors of runs by itself too (default), beside the ones that are thrown. */
  readonly printing?: boolean
  /**
   * Data files that are read into memory. The runtime maps all others, which takes less of it, but the system ends a
   * process whose mapped file somebody shortens.
   */
  readonly dataFiles?: readonly DataFile[]
  /** Writes a Chrome trace with this file prefix when the session is closed. */
  readonly profile?: string
}

/**
 * The arithmetic of matrix products and convolutions: float32; tf32, in which a GPU rounds their factors to 11 significant
 * bits; or float16, in which training computes them and what lies between them (train/mixed-precision.ts). Everything else
 * is float32 in any case.
 */
export type Precision = 'float32' | 'tf32' | 'float16'

/** Where a model comes from: bytes, or a path (needed when it has external data). */
export type ModelSource = Uint8Array | string

/** Gets buffers back that were lent. */
export interface Lender {
  give(buffer: ArrayBuffer): void
}

/** A model ready for inference. Calls queue up; the process stays responsive. */
export interface Runner {
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
  /**
   * Runs the model; asks for all outputs unless some are named. `lender`: the feeds' memory is lent instead of copied: the
   * buffers are of no use until the lender gets them back, and are lost where the run's thread ends.
   */
  run(feeds: Feeds, outputs?: readonly string[], lender?: Lender): Promise<Map<string, Tensor>>
  close(): Promise<void>
  /** Whether it can still run; false after what it runs in has ended. Absent where that cannot happen. */
  readonly alive?: boolean
  /** Ends what it runs in between two runs, as a crash would: a test of those who must live with one. */
  crash?(): Promise<void>
}

/** The metrics of one training step: scalars by output name. */
export type StepMetrics = ReadonlyMap<string, number>

/** What a trainer moved between the process and its device since it was opened. An engine without a device moves nothing. */
export interface Traffic {
  /** Training steps done. */
  readonly steps: number
  /** Calls of the runtime in which they were done. */
  readonly runs: number
  /** Bytes of step inputs (batches, targets, scalars) and of metrics. */
  readonly batchBytes: number
  /** Bytes of carried state, both ways: before and after each run where the state cannot stay, and for reads and writes. */
  readonly stateBytes: number
}

/** A training program with its state, which stays with the engine between steps. */
export interface Trainer {
  /** Steps that are best sent at once, at this moment: the engine learns it from the first ones. */
  readonly chunk: number
  /** What a person should know about how the program runs here: nodes that fall back to the CPU, for instance. */
  readonly notes: readonly string[]
  readonly traffic: Traffic
  /** Runs one step for each element of `batches`, in order. The batches' memory is handed over: do not use it afterwards. */
  steps(batches: readonly Feeds[]): Promise<StepMetrics[]>
  /** A copy of the state tensors. */
  readState(): Promise<Map<string, Tensor>>
  /** Sets whole state vectors. Their memory is handed over, as that of batches. */
  writeState(state: Feeds): Promise<void>
  close(): Promise<void>
}

/** What an engine can compute, as data. */
export interface Capabilities {
  /** Operators that it has kernels for: `Relu`, `com.microsoft.Gelu`. */
  readonly operators: ReadonlySet<string>
  /** Element types that those kernels compute in. */
  readonly dtypes: ReadonlySet<DType>
  /**
   * Where the state is between steps: in the process; on the device; or on the device for the steps of one run only, so
   * that it crosses the bus once each way per run.
   */
  readonly state: 'process' | 'device' | 'run'
}

export interface Engine {
  /** `cpu`, `cuda`, `webgpu`, ... */
  readonly name: string
  /** Engine and version for reports. */
  readonly description: string
  readonly capabilities: Capabilities
  /** Default: float32. */
  readonly precision?: Precision
  /**
   * The engine that looks at graphs for this one (shapes, constants): the CPU's, where opening a session on the device
   * only for that would be slow or impossible. Default: the engine itself.
   */
  readonly observer?: Engine
  /** The program in operators that this engine executes; composites are gone. */
  lower(program: Program): Lowered
  openRunner(model: ModelSource, options?: SessionOptions): Promise<Runner>
  openTrainer(program: Program, options?: SessionOptions): Promise<Trainer>
}

/** The engine that looks at graphs for an engine. */
export function observerOf(engine: Engine): Engine {
  return engine.observer ?? engine
}
