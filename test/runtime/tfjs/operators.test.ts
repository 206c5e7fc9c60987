/** Operators on tfjs kernels against onnxruntime: values, and gradients where there is a rule, beyond fixtures/ops. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { pullBack } from '../../../src/autodiff/driver.ts'
import { RULES } from '../../../src/autodiff/index.ts'
import { COMPOSITE_LOWERINGS, lowerComposites } from '../../../src/autodiff/lowering/index.ts'
import { Builder } from '../../../src/ir/builder.ts'
import { Graph, Model } from '../../../src/ir/graph.ts'
import { Value } from '../../../src/ir/value.ts'
import { sizeOf } from '../../../src/tensor/shape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { Random } from '../../../src/util/random.ts'
import { assertClose } from '../../support/close.ts'
import { OPERATOR_ROWS, type OperatorInput, type OperatorRow } from '../../support/operator-rows.ts'
import { runOn } from '../../support/op-fixture.ts'
import { runModel } from '../../support/ort.ts'
import { engine, tensorCount } from '../../support/tfjs.ts'

const OPSET = 20

/** The row as a graph: outputs, then gradients by float inputs of Σ of output 0 times weights that tell elements apart. */
function graphOf(row: OperatorRow): { graph: Graph; feeds: Record<string, Tensor> } {
  const random = Random.of(20)
  const feeds: Record<string, Tensor> = {}
  const fed = row.inputs.map((input, i) => {
    if (!input) return null
    const tensor = input instanceof Tensor ? input : sample(input, () => random.float())
    feeds[`x${i}`] = tensor
    return Value.typed(`x${i}`, tensor.dtype, tensor.dims)
  })
  const op = new Builder(Object.keys(feeds))
  const constants = (row.constants ?? []).map(tensor => tensor && op.constant(tensor))
  const specs = [{ shape: row.output, dtype: row.dtype }, ...(row.more ?? [])]
  const types = specs.map(({ shape, dtype }) => ({ shape, ...(dtype ? { dtype } : {}) }))
  const outputs = op.emit(row.op, [...fed, ...constants], types, row.attributes)
  const graph = new Graph(row.op)
  graph.inputs = fed.filter(value => value !== null)
  graph.outputs = [...outputs]
  if (row.gradient) {
    const seed = op.constant(
      Tensor.of(
        'float32',
        row.output,
        Array.from({ length: sizeOf(row.output) }, (_, i) => 1 + i / 7),
      ),
    )
    const targets = graph.inputs.filter(value => value.dtype === 'float32')
    const forward = [...op.nodes]
    const found = pullBack(op, forward, new Map([[outputs[0]!, seed]]), targets, {
      rules: RULES,
      opset: OPSET,
    })
    graph.outputs.push(
      ...targets.flatMap(target => (found.get(target) ? [op.Identity(found.get(target)!)] : [])),
    )
  }
  graph.nodes = op.nodes
  graph.initializers = op.initializers
  return { graph, feeds }
}

function sample({ shape, from = -2, to = 2 }: Exclude<OperatorInput, Tensor>, next: () => number): Tensor {
  return Tensor.of(
    'float32',
    shape,
    Array.from({ length: sizeOf(shape) }, () => from + (to - from) * next()),
  )
}

OPERATOR_ROWS.forEach((row, index) => {
  test(`${index}: ${row.op} -> [${row.output.join()}]`, async () => {
    const { graph, feeds } = graphOf(row)
    const lowered = lowerComposites(graph, COMPOSITE_LOWERINGS)
    const expected = await runModel(new Model(lowered, 10, new Map([['', OPSET]])), feeds)
    const before = tensorCount()
    const found = await runOn(engine, { graph, opset: OPSET, state: [], inputs: [], metrics: [] }, feeds)
    assert.is(tensorCount(), before, 'tensors that were not freed')
    for (const [name, tensor] of Object.entries(expected)) {
      const what = `${row.op}: ${name}`
      assert.is(found[name]!.dtype, tensor.dtype, `${what}: type`)
      assert.equal([...found[name]!.dims], [...tensor.dims], `${what}: shape`)
      assertClose(found[name]!.toNumbers(), tensor.toNumbers(), { absolute: 2e-6, relative: 1e-5 }, what)
    }
  })
})

test.run()
