/** Gradient rows as programs: what an engine is asked to compute when it is compared with the CPU engine. */

import { isComposite } from '../../src/autodiff/composites.ts'
import { operatorKey, RULES } from '../../src/autodiff/index.ts'
import { pullBack } from '../../src/autodiff/driver.ts'
import { Builder } from '../../src/ir/builder.ts'
import { Graph } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import type { Program } from '../../src/runtime/program.ts'
import { DTYPES } from '../../src/tensor/dtype.ts'
import { sizeOf } from '../../src/tensor/shape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import {
  observeOutputs,
  prepare,
  present,
  rowName,
  writeForward,
  type GradRow,
  type OutputType,
  type Setup,
} from './grad-row.ts'

/** One row in float32: forward outputs, and the gradient of every differentiable input for a seeded dy. */
export interface ParityCase {
  readonly name: string
  readonly opset: number
  readonly setup: Setup
  readonly types: readonly OutputType[] | null
}

/** Several cases in one program, so that an engine opens one session for all of them. */
export interface ParityProgram {
  readonly program: Program
  readonly feeds: ReadonlyMap<string, Tensor>
  /** Outputs of each case, in the order of the cases. */
  readonly outputs: readonly (readonly string[])[]
  /** Operators and composites whose rules the cases use. */
  readonly rules: ReadonlySet<string>
}

/** The case of a row; onnxruntime says the shapes of its outputs. */
export async function parityCase(row: GradRow): Promise<ParityCase> {
  const setup = prepare({ ...row, dtype: 'float32' })
  return { name: rowName(row), opset: row.opset ?? 20, setup, types: await observeOutputs(setup) }
}

/** Writes forward and backward nodes of cases of one opset into one graph. */
export function parityProgram(cases: readonly ParityCase[]): ParityProgram {
  const op = new Builder()
  const graph = new Graph('parity')
  const feeds = new Map<string, Tensor>()
  const rules = new Set<string>()
  const outputs = cases.map(({ setup, types, opset }) => {
    const inputs = setup.tensors.map((tensor, i) => {
      if (!tensor) return null
      const name = op.uniqueName(`x${i}`)
      if (setup.specs[i]!.constant) return op.constant(tensor)
      feeds.set(name, tensor)
      return Value.typed(name, tensor.dtype, tensor.dims)
    })
    const start = op.nodes.length
    const made = writeForward(setup, op, inputs, types)
    for (const value of made) value.name = op.uniqueName('y')
    const forward = op.nodes.slice(start)
    for (const node of forward) rules.add(operatorKey(node))
    const seeds = seedsOf(op, made, feeds, setup.seed)
    const targets = setup.differentiable.map(index => inputs[index]!)
    const found = pullBack(op, forward, seeds, targets, { rules: RULES, opset })
    for (const node of op.nodes.slice(start)) if (isComposite(node)) rules.add(operatorKey(node))
    graph.inputs.push(...present(inputs).filter(input => !input.tensor), ...seeds.values())
    // Identity: a gradient may be a seed, or the gradient of another input as well.
    const gradients = targets.map(target => op.Identity(found.get(target)!))
    graph.outputs.push(...seeds.keys(), ...gradients)
    return [...seeds.keys(), ...gradients].map(({ name }) => name)
  })
  graph.initializers = op.initializers
  graph.nodes = op.nodes
  const opset = cases[0]!.opset
  return { program: { graph, opset, state: [], inputs: [], metrics: [] }, feeds, outputs, rules }
}

function seedsOf(
  op: Builder,
  outputs: readonly Value[],
  feeds: Map<string, Tensor>,
  seed: number,
): Map<Value, Value> {
  const random = Random.of(seed, 1)
  return new Map(
    outputs
      .filter(({ dtype }) => DTYPES[dtype].float)
      .map(y => {
        const dy = Value.typed(op.uniqueName('dy'), y.dtype, y.shape)
        const values = Array.from({ length: sizeOf(y.shape) }, () => random.normal())
        feeds.set(dy.name, Tensor.of(y.dtype, y.shape, values))
        return [y, dy]
      }),
  )
}
