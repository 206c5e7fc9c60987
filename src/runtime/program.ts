/** A training program: one graph that maps state and a batch to the next state and metrics. */

import type { Graph } from '../ir/graph.ts'
import type { Shape } from '../tensor/shape.ts'

/** A tensor that is carried from step to step. */
export interface StateTensor {
  /** Name under which state is read, written and stored. */
  readonly name: string
  /** Graph input and output that hold it. */
  readonly input: string
  readonly output: string
  readonly shape: Shape
}

/** A tensor that is fed anew at each step: batch inputs, targets, learning rate and step scalars. */
export interface StepInput {
  readonly name: string
  readonly dtype: 'float32' | 'int64' | 'int32'
  readonly shape: Shape
}

export interface Program {
  /** Standard operators and composites (`swa.composite`); the engine lowers the latter. */
  readonly graph: Graph
  readonly opset: number
  readonly state: readonly StateTensor[]
  readonly inputs: readonly StepInput[]
  /** Scalar outputs reported at each step. */
  readonly metrics: readonly string[]
}
