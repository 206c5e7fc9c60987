/** The forms of nodes that have no CUDA kernel: each against the operator itself on the CPU provider, by values. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { float, type Attribute } from '../../../src/ir/attribute.ts'
import { Builder, type OutputSpec } from '../../../src/ir/builder.ts'
import { Graph, Model } from '../../../src/ir/graph.ts'
import { Value } from '../../../src/ir/value.ts'
import { replaceNodes } from '../../../src/passes/index.ts'
import { nodesWithoutKernel } from '../../../src/runtime/ort-cuda/capabilities.ts'
import { CUDA_FORMS } from '../../../src/runtime/ort-cuda/forms/index.ts'
import { sizeOf, type Shape } from '../../../src/tensor/shape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { Random } from '../../../src/util/random.ts'
import { assertClose } from '../../support/close.ts'
import { runModel } from '../../support/ort.ts'

interface FormRow {
  readonly op: string
  /** Values of an input, or the shape of one that is drawn from [-2, 2]. */
  readonly inputs: readonly (Tensor | Shape)[]
  readonly attributes?: Readonly<Record<string, number | string | readonly number[] | Attribute>>
  readonly outputs: readonly OutputSpec[]
  readonly opset?: number
  /** Added to |expected| · 2e-6. */
  readonly absolute?: number
}

const random = Random.of(20260901)

function draw(shape: Shape): Tensor {
  return Tensor.of(
    'float32',
    shape,
    Array.from({ length: sizeOf(shape) }, () => 4 * random.float() - 2),
  )
}

function graphOf(row: FormRow, tensors: readonly Tensor[]): Graph {
  const graph = new Graph('form')
  graph.inputs = tensors.map(({ dtype, dims }, i) => Value.typed(`x${i}`, dtype, dims))
  const op = new Builder(graph.inputs.map(({ name }) => name))
  graph.outputs = op.emit(row.op, graph.inputs, row.outputs, row.attributes)
  graph.nodes = op.nodes
  return graph
}

/** Runs the node, and what the forms make of it; the latter holds nothing that has no kernel. */
async function bothOf(row: FormRow): Promise<{ expected: Tensor[]; found: Tensor[] }> {
  const tensors = row.inputs.map(input => (input instanceof Tensor ? input : draw(input)))
  const feeds = Object.fromEntries(tensors.map((tensor, i) => [`x${i}`, tensor]))
  const run = async (graph: Graph) =>
    Object.values(await runModel(new Model(graph, 8, new Map([['', row.opset ?? 18]])), feeds))
  const expected = await run(graphOf(row, tensors))
  const graph = graphOf(row, tensors)
  assert.is(nodesWithoutKernel(graph).length, 1, `${row.op} has a kernel and needs no form`)
  replaceNodes(graph, CUDA_FORMS)
  assert.equal(
    nodesWithoutKernel(graph).map(({ node, reason }) => `${node.label}: ${reason}`),
    [],
  )
  return { expected, found: await run(graph) }
}

const rowsOf: readonly FormRow[] = [
  { op: 'Mean', inputs: [[2, 3], [3], [2, 1]], outputs: [{ shape: [2, 3] }] },
  { op: 'Mean', inputs: [[2, 3]], outputs: [{ shape: [2, 3] }] },
  { op: 'Celu', inputs: [[40]], outputs: [{ shape: [40] }] },
  { op: 'Celu', inputs: [[40]], outputs: [{ shape: [40] }], attributes: { alpha: float(0.3) } },
  { op: 'Hardmax', inputs: [[4, 5]], outputs: [{ shape: [4, 5] }] },
  {
    op: 'Hardmax',
    inputs: [Tensor.of('float32', [2, 2, 3], [1, 3, 3, -1, -1, -1, 0, 0, 5, 5, 0, 5])],
    outputs: [{ shape: [2, 2, 3] }],
    attributes: { axis: 1 },
  },
  {
    op: 'MeanVarianceNormalization',
    inputs: [[2, 3, 4, 5]],
    outputs: [{ shape: [2, 3, 4, 5] }],
    absolute: 1e-6,
  },
  {
    op: 'MeanVarianceNormalization',
    inputs: [[4, 6]],
    outputs: [{ shape: [4, 6] }],
    attributes: { axes: [-1] },
    absolute: 1e-6,
  },
  {
    op: 'BatchNormalization',
    inputs: [[3, 4, 5], [4], [4], [4], Tensor.of('float32', [4], [1, 2, 0.5, 3])],
    outputs: [{ shape: [3, 4, 5] }, { shape: [4] }, { shape: [4] }],
    attributes: { training_mode: 1, momentum: float(0.7), epsilon: float(1e-3) },
    absolute: 1e-6,
  },
  { op: 'GlobalLpPool', inputs: [[2, 3, 4, 5]], outputs: [{ shape: [2, 3, 1, 1] }] },
  { op: 'GlobalLpPool', inputs: [[2, 3, 7]], outputs: [{ shape: [2, 3, 1] }], attributes: { p: 3 } },
  {
    op: 'LpPool',
    inputs: [[2, 3, 9, 8]],
    outputs: [{ shape: [2, 3, 5, 7] }],
    attributes: { kernel_shape: [3, 2], strides: [2, 1], pads: [1, 0, 1, 0] },
  },
  {
    op: 'LpPool',
    inputs: [[2, 2, 10]],
    outputs: [{ shape: [2, 2, 4] }],
    attributes: { kernel_shape: [3], dilations: [2], strides: [2], pads: [1, 0], p: 1 },
  },
  {
    op: 'LpPool',
    inputs: [[1, 2, 6]],
    outputs: [{ shape: [1, 2, 3] }],
    attributes: { kernel_shape: [3], strides: [2], auto_pad: 'SAME_UPPER', p: 4 },
  },
  {
    op: 'LpPool',
    inputs: [[1, 2, 8]],
    outputs: [{ shape: [1, 2, 4] }],
    attributes: { kernel_shape: [3], strides: [2], ceil_mode: 1 },
  },
  {
    op: 'MaxUnpool',
    inputs: [[1, 1, 2, 2], Tensor.of('int64', [1, 1, 2, 2], [5n, 7n, 13n, 15n])],
    outputs: [{ shape: [1, 1, 4, 4] }],
    attributes: { kernel_shape: [2, 2], strides: [2, 2] },
  },
  ...[
    { pads: [0, 1, 1, 0], shape: [2, 4, 8, 10] },
    { pads: [2, 0, 0, 1], shape: [2, 4, 7, 10] },
    { pads: [0, 1, 1, 0], output_padding: [1, 0], shape: [2, 4, 9, 10] },
    { pads: [0, 0, 2, 1], output_padding: [1, 1], shape: [2, 4, 8, 11] },
    { auto_pad: 'SAME_UPPER', shape: [2, 4, 8, 10] },
    { auto_pad: 'SAME_LOWER', shape: [2, 4, 8, 10] },
  ].map(({ shape, ...attributes }) => ({
    op: 'ConvTranspose',
    inputs: [[2, 3, 4, 5], [3, 4, 3, 3], [4]],
    outputs: [{ shape }],
    attributes: { strides: [2, 2], ...attributes },
    absolute: 1e-5,
  })),
  {
    op: 'ConvTranspose',
    inputs: [
      [1, 4, 6],
      [4, 3, 3],
    ],
    outputs: [{ shape: [1, 6, 13] }],
    attributes: { strides: [2], dilations: [2], group: 2, pads: [0, 2] },
    absolute: 1e-5,
  },
  {
    op: 'ConvTranspose',
    inputs: [
      [1, 1, 3],
      [1, 1, 2],
    ],
    outputs: [{ shape: [1, 1, 9] }],
    attributes: { strides: [3], output_shape: [9], auto_pad: 'SAME_UPPER' },
    absolute: 1e-5,
  },
  {
    op: 'ScatterElements',
    inputs: [
      Tensor.of('int32', [4], [1, -7, 1 << 24, 4]),
      Tensor.of('int64', [5], [0n, 2n, 2n, 1n, -1n]),
      Tensor.of('int32', [5], [5, 1, 2, 1 << 30, -9]),
    ],
    outputs: [{ shape: [4] }],
    attributes: { axis: 0, reduction: 'add' },
  },
  ...(['add', 'mul', 'max'] as const).map(reduction => ({
    op: 'ScatterND',
    inputs: [
      Tensor.of(
        'int64',
        [2, 3, 2],
        Array.from({ length: 12 }, (_, i) => BigInt(i + 1)),
      ),
      Tensor.of('int64', [3, 2], [0n, 1n, -1n, -3n, 0n, 1n]),
      Tensor.of('int64', [3, 2], [10n, 20n, 3n, 40n, 5n, 60n]),
    ],
    outputs: [{ shape: [2, 3, 2] }],
    attributes: { reduction },
  })),
]

for (const row of rowsOf) {
  const attributes = Object.entries(row.attributes ?? {}).map(([name, value]) => {
    return `${name}=${typeof value === 'object' && 'kind' in value ? String(value.value) : String(value)}`
  })
  test(`${row.op} ${attributes.join(' ')}`, async () => {
    const { expected, found } = await bothOf(row)
    expected.forEach((tensor, i) => {
      assert.equal(found[i]!.dims, tensor.dims)
      assertClose(
        found[i]!.toNumbers(),
        tensor.toNumbers(),
        { relative: 2e-6, absolute: row.absolute ?? 0 },
        `${row.op}: output ${i}`,
      )
    })
  })
}

/** Group normalization is no kernel anywhere: ONNX Runtime puts its definition in its place. */
for (const opset of [18, 21]) {
  test(`GroupNormalization of opset ${opset}`, async () => {
    const units = opset === 18 ? 2 : 6
    const row: FormRow = {
      op: 'GroupNormalization',
      inputs: [[2, 6, 3, 4], [units], [units]],
      outputs: [{ shape: [2, 6, 3, 4] }],
      attributes: { num_groups: 2, epsilon: float(1e-4) },
    }
    const tensors = row.inputs.map(input => draw(input as Shape))
    const feeds = Object.fromEntries(tensors.map((tensor, i) => [`x${i}`, tensor]))
    const graph = graphOf(row, tensors)
    replaceNodes(graph, CUDA_FORMS)
    const [found] = Object.values(await runModel(new Model(graph, 8, new Map([['', 18]])), feeds))
    const numbers = tensors.map(tensor => tensor.toNumbers())
    const [x, scale, bias] = numbers as [number[], number[], number[]]
    const expected = x.map((value, i) => {
      const group = x.slice(36 * Math.floor(i / 36), 36 * Math.floor(i / 36) + 36)
      const mean = group.reduce((a, b) => a + b) / 36
      const variance = group.reduce((a, b) => a + (b - mean) ** 2, 0) / 36
      const unit = Math.floor((i % 72) / (72 / units))
      return ((value - mean) / Math.sqrt(variance + 1e-4)) * scale[unit]! + bias[unit]!
    })
    assertClose(found!.toNumbers(), expected, { relative: 2e-6, absolute: 2e-6 }, 'GroupNormalization')
  })
}

/** Functions of one operand, at float32 points where the forms change over, lose digits or overflow. */
const FUNCTIONS: Readonly<Record<string, { f: (x: number) => number; at: readonly number[] }>> = {
  Tan: { f: Math.tan, at: [-1.5, -1, -1e-8, 0, 0.3, 1.57, 4] },
  Atan: {
    f: Math.atan,
    at: [-Infinity, -1e30, -3, -2.4142, -1, -0.41422, -0.4142, -1e-20, 0, 0.2, 0.5, 2.4143, 1e8, Infinity],
  },
  Asin: { f: Math.asin, at: [-1, -0.999999, -0.5, -1e-9, 0, 1e-4, 0.3, 0.71, 0.99, 1, 1.5, NaN] },
  Acos: { f: Math.acos, at: [-1, -0.999999, -0.5, -1e-9, 0, 1e-4, 0.3, 0.71, 0.999999, 1, -1.5] },
  Sinh: { f: Math.sinh, at: [-89, -20, -1.0001, -1, -0.5, -1e-6, 0, 1e-30, 0.01, 0.9, 1, 2, 88, 89, 95] },
  Cosh: { f: Math.cosh, at: [-89, -20, -1, 0, 1e-6, 0.01, 2, 88, 89, 95] },
  Asinh: {
    f: Math.asinh,
    at: [-1e30, -8193, -8191, -1, -1e-3, -1e-8, 0, 1e-20, 1e-5, 0.3, 0.99, 5, 8192, 3e38],
  },
  Acosh: { f: Math.acosh, at: [0.5, 1, 1.0000002, 1.001, 1.5, 2, 100, 8191, 8193, 1e30, 3e38] },
  Atanh: {
    f: Math.atanh,
    at: [-1, -0.9999999, -0.9, -1e-3, -1e-8, 0, 1e-20, 0.3, 0.5, 0.99999994, 1, 1.5],
  },
}

for (const [op, { f, at }] of Object.entries(FUNCTIONS)) {
  test(`${op} at the edges of its forms`, async () => {
    const x = Tensor.of('float32', [at.length], at)
    const { found } = await bothOf({ op, inputs: [x], outputs: [{ shape: [at.length] }] })
    const expected = x.toNumbers().map(value => Math.fround(f(value)))
    const numbers = found[0]!.toNumbers()
    assert.equal(numbers.map(Number.isNaN), expected.map(Number.isNaN))
    // The sign of zero, and what is not a number, are settled.
    const plain = (values: readonly number[]) => values.map(value => (Number.isNaN(value) ? 0 : value + 0))
    assertClose(plain(numbers), plain(expected), { relative: 1.5e-6 }, op)
  })
}

test('float64 functions and other types keep their node', () => {
  const x = Tensor.of('float64', [1], [0.5])
  const graph = graphOf({ op: 'Atan', inputs: [x], outputs: [{ shape: [1] }] }, [x])
  replaceNodes(graph, CUDA_FORMS)
  assert.equal(
    nodesWithoutKernel(graph).map(({ node, reason }) => `${node.opType}: ${reason}`),
    ['Atan: the provider has no kernel for the operator'],
  )
})

test.run()
