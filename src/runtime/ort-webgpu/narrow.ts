/**
 * int64 arithmetic in int32: WebGPU has no int64 data, so that ONNX Runtime would fetch it to the CPU and back. What is
 * narrowed are labels and positions, which an int32 holds: operands of comparisons and of casts, and indices that were
 * computed. Shapes and axes stay int64, on the CPU, where kernels want them.
 */

import { Builder } from '../../ir/builder.ts'
import type { Graph } from '../../ir/graph.ts'
import { ONNX_DOMAIN, type Node } from '../../ir/node.ts'
import type { Value } from '../../ir/value.ts'
import { namesOf, removeDeadNodesOf } from '../../passes/index.ts'
import { Tensor } from '../../tensor/tensor.ts'

/** Operators whose output is int64 because these inputs are. */
const CARRIERS: Readonly<Record<string, (node: Node) => readonly number[]>> = {
  ...every(['Add', 'Sub', 'Mul', 'Concat']),
  ...first(['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Transpose', 'Expand', 'Tile', 'Slice', 'Gather']),
  ...first(['Identity', 'Neg', 'ReduceSum', 'ReduceMax', 'ReduceMin']),
  Where: () => [1, 2],
}

/** Operators that take int32 as well as int64, and in which inputs: all of them, or none is narrowed. */
const TAKERS: Readonly<Record<string, (node: Node) => readonly number[]>> = {
  ...every(['Equal', 'Less', 'LessOrEqual', 'Greater', 'GreaterOrEqual']),
  ...first(['Cast', 'OneHot']),
  Gather: () => [1],
  GatherElements: () => [1],
  ScatterElements: () => [1],
}

/** Those of the takers whose kernels read int64 indices too: only computed ones are worth it. */
const INDEXED = new Set(['Gather', 'GatherElements', 'ScatterElements'])

function every(operators: readonly string[]) {
  return Object.fromEntries(operators.map(name => [name, (node: Node) => node.inputs.map((_, i) => i)]))
}

function first(operators: readonly string[]) {
  return Object.fromEntries(operators.map(name => [name, () => [0]]))
}

const INT32 = { low: -(2 ** 31), high: 2 ** 31 - 1 }

/** Narrows in place; values that nobody reads any more are dropped. */
export function narrowIntegers(graph: Graph): void {
  const op = new Builder(namesOf(graph))
  const inputs = new Set(graph.inputs)
  const found = new Map<Value, Value | null>()

  /** The int32 form of an int64 value; null where there is none. */
  const narrow = (value: Value): Value | null => {
    if (!found.has(value)) found.set(value, write(value))
    return found.get(value)!
  }
  const write = (value: Value): Value | null => {
    if (inputs.has(value)) return op.Cast(value, 'int32')
    if (value.tensor) return narrowConstant(op, value.tensor)
    const node = value.producer
    if (node?.domain !== ONNX_DOMAIN || value.staticShape === null) return null
    if (node.opType === 'ArgMax') return op.Cast(value, 'int32')
    if (node.opType === 'Cast') return op.Cast(node.input(0), 'int32')
    const operands = CARRIERS[node.opType]?.(node)
    if (!operands) return null
    const narrowed = operands.map(i => narrow(node.input(i)))
    if (narrowed.includes(null)) return null
    const inner = node.inputs.map((input, i) =>
      operands.includes(i) ? narrowed[operands.indexOf(i)]! : input,
    )
    const output = op.emit(node.opType, inner, [{ shape: value.shape, dtype: 'int32' }])[0]!
    for (const [name, attribute] of node.attributes) output.producer!.attributes.set(name, attribute)
    return output
  }

  graph.nodes = graph.nodes.flatMap(node => {
    const taken = node.domain === ONNX_DOMAIN ? (TAKERS[node.opType]?.(node) ?? []) : []
    const operands = taken.map(i => node.input(i))
    const wide = operands.length > 0 && operands.every(value => value.type && value.dtype === 'int64')
    const idle = INDEXED.has(node.opType) && !operands.some(value => isCarried(value))
    if (!wide || idle || (node.opType === 'Cast' && operands[0]!.producer?.opType === 'ArgMax')) return [node]
    const narrowed = op.within(node.name, () => operands.map(narrow))
    if (!narrowed.includes(null)) taken.forEach((at, i) => (node.inputs[at] = narrowed[i]!))
    return [...op.nodes.splice(0), node]
  })
  graph.initializers.push(...op.initializers)
  removeDeadNodesOf(graph)
}

function isCarried(value: Value): boolean {
  const { producer } = value
  return producer?.domain === ONNX_DOMAIN && producer.opType in CARRIERS
}

function narrowConstant(op: Builder, tensor: Tensor): Value | null {
  if (!tensor.resident) return null
  const numbers = Array.from(tensor.view(), Number)
  if (numbers.some(number => number < INT32.low || number > INT32.high)) return null
  return op.constant(Tensor.of('int32', tensor.dims, numbers))
}
