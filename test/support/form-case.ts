/**
 * Operators and what the WebGPU lowering puts in their place, by values: graph and replacement run on the CPU provider, and the
 * replacement has nothing left that WebGPU lacks.
 */

import * as assert from 'uvu/assert'
import { Builder, type Attributes } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { printGraph } from '../../src/ir/print.ts'
import { Value } from '../../src/ir/value.ts'
import { replaceNodes } from '../../src/passes/index.ts'
import { WEBGPU_CAPABILITIES } from '../../src/runtime/ort-webgpu/capabilities.ts'
import { WEBGPU_FORMS } from '../../src/runtime/ort-webgpu/forms/index.ts'
import { narrowIntegers } from '../../src/runtime/ort-webgpu/narrow.ts'
import type { DType } from '../../src/tensor/dtype.ts'
import { sizeOf, type Shape } from '../../src/tensor/shape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import { assertClose } from './close.ts'
import { runModel } from './ort.ts'

export interface FormCase {
  readonly title: string
  readonly inputs: readonly Tensor[]
  /** Writes the node under test. */
  readonly write: (op: Builder, inputs: readonly Value[]) => Value
  /** Default: equal to the last bit but two. */
  readonly relative?: number
  readonly absolute?: number
  readonly opset?: number
}

export function graphOf({ inputs, write }: FormCase): Graph {
  const op = new Builder(inputs.map((_, i) => `x${i}`))
  const graph = new Graph('form')
  graph.inputs = inputs.map(({ dtype, dims }, i) => Value.typed(`x${i}`, dtype, dims))
  const y = write(op, graph.inputs)
  y.name = 'y'
  graph.outputs = [y]
  graph.nodes = op.nodes
  graph.initializers = op.initializers
  return graph
}

export async function valuesOf(graph: Graph, { inputs, opset = 20 }: FormCase): Promise<number[]> {
  const feeds = Object.fromEntries(inputs.map((each, i) => [`x${i}`, each]))
  const { y } = await runModel(new Model(graph, 10, new Map([['', opset]])), feeds)
  return y!.toNumbers()
}

/** Compares the operator with its replacement. */
export async function checkForm(each: FormCase): Promise<void> {
  const { relative = 3e-7, absolute = 0 } = each
  const expected = await valuesOf(graphOf(each), each)
  const graph = replaced(each)
  const lacking = graph.nodes.filter(({ opType }) => !WEBGPU_CAPABILITIES.operators.has(opType))
  assert.equal(
    lacking.map(({ label }) => label),
    [],
  )
  assertClose(await valuesOf(graph, each), expected, { relative, absolute }, printGraph(graph))
}

/** The graph as the lowering leaves it. */
export function replaced(each: FormCase): Graph {
  const graph = graphOf(each)
  narrowIntegers(graph)
  replaceNodes(graph, WEBGPU_FORMS)
  return graph
}

const random = Random.of(20260801, 7)
export const floats = (...shape: number[]) =>
  Tensor.of(
    'float32',
    shape,
    Array.from({ length: sizeOf(shape) }, () => 4 * random.float() - 2),
  )
export const vector = (values: readonly number[], dtype: DType = 'float32') =>
  Tensor.of(dtype, [values.length], dtype === 'int64' ? values.map(BigInt) : values)
export const truth = (...shape: number[]) =>
  Tensor.of(
    'bool',
    shape,
    Array.from({ length: sizeOf(shape) }, () => Number(random.float() < 0.5)),
  )

/** A node of one operator over the inputs, with the dtype of the first unless stated. */
export const node =
  (opType: string, shape: Shape, attributes: Attributes = {}, dtype?: DType): FormCase['write'] =>
  (op, inputs) =>
    op.one(opType, inputs, dtype ? { shape, dtype } : { shape }, attributes)
