/** Gradients at points where the answer is known exactly: element-wise operators over short float32 vectors, dy = 1. */

import { RULES } from '../../src/autodiff/index.ts'
import { pullBack } from '../../src/autodiff/driver.ts'
import { Builder, type Attributes } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { assertClose } from './close.ts'
import { runModel } from './ort.ts'

export interface ClosedForm {
  op: string
  attributes?: Attributes
  /** A vector or a scalar for each input. */
  inputs: readonly (readonly number[] | number)[]
  /** Length of the output; default: the longest input's. */
  length?: number
  /** The expected gradient of each input. */
  grads: readonly (readonly number[] | number)[]
}

/** Registers one test a row. */
export function closedForms(
  test: (name: string, run: () => Promise<void>) => void,
  rows: readonly ClosedForm[],
): void {
  for (const row of rows) test(`${row.op} at ${JSON.stringify(row.inputs)}`, () => checkClosedForm(row))
}

async function checkClosedForm(row: ClosedForm): Promise<void> {
  const tensors = row.inputs.map(values => tensorOf(values))
  const inputs = tensors.map((tensor, i) => Value.typed(`x${i}`, 'float32', tensor.dims))
  const op = new Builder(inputs.map(input => input.name))
  const length = row.length ?? Math.max(...tensors.map(tensor => tensor.size))
  const y = op.one(row.op, inputs, { shape: [length] }, row.attributes)
  const seed = op.full([length], 1)
  const gradients = pullBack(op, [...op.nodes], new Map([[y, seed]]), inputs, { rules: RULES, opset: 20 })

  const graph = new Graph('closed_form')
  graph.inputs = inputs
  graph.outputs = inputs.map(input => op.Identity(gradients.get(input)!))
  graph.initializers = op.initializers
  graph.nodes = op.nodes
  const feeds = Object.fromEntries(tensors.map((tensor, i) => [`x${i}`, tensor]))
  const found = await runModel(new Model(graph, 10, new Map([['', 20]])), feeds)
  graph.outputs.forEach((output, i) => {
    const gradient = found[output.name]!.toNumbers()
    assertClose(
      gradient,
      tensorOf(row.grads[i]!).toNumbers(),
      { absolute: 1e-6 },
      `${row.op}: gradient of input ${i}`,
    )
  })
}

function tensorOf(values: readonly number[] | number): Tensor {
  return typeof values === 'number'
    ? Tensor.scalar('float32', values)
    : Tensor.of('float32', [values.length], values)
}
