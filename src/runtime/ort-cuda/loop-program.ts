/**
 * Many training steps as one ONNX Loop. The Node binding cannot leave memory on a CUDA device between runs, so the steps of
 * a chunk run inside one node: its carried values are the state, which crosses the bus once each way.
 */

import { Builder } from '../../ir/builder.ts'
import { Graph } from '../../ir/graph.ts'
import { Node } from '../../ir/node.ts'
import { Value, type Dim } from '../../ir/value.ts'
import { cloneGraph, namesOf } from '../../passes/index.ts'
import { invariant } from '../../util/errors.ts'
import type { Lowered, Program } from '../program.ts'

/** The free dimension of chunk inputs. */
const STEPS = 'steps'

export interface LoopProgram {
  /**
   * Inputs: the trip count (int64, a scalar), the state parts, and each step input with a leading axis of steps. Outputs:
   * the state parts after the last step, and each metric as a vector of steps. All but the trip count have the names that
   * they have in the program.
   */
  readonly lowered: Lowered
  readonly tripCount: string
}

/**
 * Wraps a lowered program into a Loop; the given graph stays as it is. Each iteration takes its slice of the chunk inputs,
 * which the body captures: ONNX Runtime copies those to the device before the first iteration.
 *
 * Constants are initializers of the body. There ONNX Runtime keeps each on the device of the kernels that read it, and a
 * second copy where kernels on both read it (an int64 vector that is a shape here and an operand there). One from outside
 * would be on the device of its first reader and be copied in every iteration for the others.
 */
export function wrapInLoop(program: Program, { graph, opset }: Lowered): LoopProgram {
  const body = cloneGraph(graph)
  const op = new Builder(namesOf(graph))
  const parts = program.state.flatMap(({ parts }) => parts)
  const inputNamed = new Map(body.inputs.map(value => [value.name, value]))
  const outputNamed = new Map(body.outputs.map(value => [value.name, value]))
  const iteration = Value.typed(op.uniqueName('loop/iteration'), 'int64', [])
  const condition = Value.typed(op.uniqueName('loop/condition'), 'bool', [])

  // 1. Inside, the values of a step take other names: those of the program belong to the Loop's own inputs and outputs.
  const find = (found: ReadonlyMap<string, Value>, name: string): Value => {
    const value = found.get(name)
    invariant(value, `the lowered program has no ${name}`)
    return value
  }
  const carried = parts.map(({ input }) => find(inputNamed, input))
  const given = program.inputs.map(({ name }) => find(inputNamed, name))
  const results = [...parts.map(part => part.output), ...program.metrics].map(name => find(outputNamed, name))
  const chunks = program.inputs.map(({ name, dtype, shape }) => Value.typed(name, dtype, [STEPS, ...shape]))

  // 2. The body: slices, the step, and a condition that never changes.
  for (const value of [...carried, ...given]) value.name = op.uniqueName(`loop/${value.name}`)
  const slices = given.map((value, i) => {
    const name = op.uniqueName(`loop/slice/${program.inputs[i]!.name}`)
    return new Node('Gather', [chunks[i]!, iteration], [value], { name })
  })
  for (const value of new Set(results)) {
    invariant(value.producer && !given.includes(value), `${value.name} goes out of the step as it came in`)
    value.name = op.uniqueName(`loop/${value.name}`)
  }
  body.name = `${graph.name}_body`
  body.outputs = [op.Identity(condition), ...results]
  body.inputs = [iteration, condition, ...carried]
  body.nodes = [...slices, ...body.nodes, ...op.nodes]

  // 3. Around it.
  const tripCount = Value.typed(op.uniqueName('loop/steps'), 'int64', [])
  const outer = new Graph(graph.name)
  const state = parts.map(({ input, shape }) => Value.typed(input, 'float32', shape))
  const typed = (name: string, source: Value, shape: readonly Dim[]) => Value.typed(name, source.dtype, shape)
  outer.outputs = [
    ...parts.map((part, i) => typed(part.output, results[i]!, part.shape)),
    ...program.metrics.map((name, i) => typed(name, results[parts.length + i]!, [STEPS])),
  ]
  outer.inputs = [tripCount, ...state, ...chunks]
  outer.nodes = [
    new Node('Loop', [tripCount, null, ...state], outer.outputs, {
      name: op.uniqueName('loop'),
      attributes: new Map([['body', { kind: 'graph', value: body }]]),
    }),
  ]
  return { lowered: { graph: outer, opset }, tripCount: tripCount.name }
}
