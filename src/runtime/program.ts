/** A training program: one graph that maps state and a batch to the next state and metrics. */

import { Model, type Graph } from '../ir/graph.ts'
import { ONNX_DOMAIN } from '../ir/node.ts'
import { walkNodes } from '../ir/topology.ts'
import { serializeModel } from '../serde/index.ts'
import type { DType } from '../tensor/dtype.ts'
import type { Shape } from '../tensor/shape.ts'

/** A graph input and output that together carry a part of a state vector. */
export interface StatePart {
  readonly input: string
  readonly output: string
  /** First element of the part in the vector. */
  readonly offset: number
  readonly shape: Shape
}

/**
 * A float32 vector that is carried from step to step. The graph sees it as parts: one for each tensor, so that an engine
 * can hand in and take out views of two alternating buffers, and no pass over memory is spent on splitting and joining.
 */
export interface StateVector {
  /** Name under which the vector is read, written and stored. */
  readonly name: string
  readonly length: number
  readonly parts: readonly StatePart[]
}

/** A tensor that is fed anew at each step: batch inputs, targets, learning rate and step scalars. */
export interface StepInput {
  readonly name: string
  readonly dtype: DType
  readonly shape: Shape
}

export interface Program {
  /** Standard operators and composites (`swa.composite`); the engine lowers the latter. */
  readonly graph: Graph
  readonly opset: number
  readonly state: readonly StateVector[]
  readonly inputs: readonly StepInput[]
  /** Scalar outputs reported at each step. */
  readonly metrics: readonly string[]
}

/** A program that one engine has lowered: its inputs and outputs are those of the program. */
export interface Lowered {
  readonly graph: Graph
  readonly opset: number
}

/** IR version of the programs we write: the one of opset 18 (ONNX 1.13), read by every ONNX Runtime since 1.14. */
const PROGRAM_IR_VERSION = 8

/** Operators of other domains have one version: com.microsoft's, which models keep where nothing is trained. */
const VERSION_OF_OTHERS = 1

/** A lowered program as an ONNX model. */
export function serializeLowered({ graph, opset }: Lowered): Promise<Uint8Array> {
  const opsets = new Map([...walkNodes(graph)].map(({ domain }) => [domain, VERSION_OF_OTHERS]))
  return serializeModel(new Model(graph, PROGRAM_IR_VERSION, opsets.set(ONNX_DOMAIN, opset)))
}
