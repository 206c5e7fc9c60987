/**
 * What the WebGPU lowering puts in the place of operators, by values: graph and replacement run on the CPU provider, and the
 * replacement has nothing left that WebGPU lacks.
 */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { float } from '../../src/ir/attribute.ts'
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
import { assertClose } from '../support/close.ts'
import { runModel } from '../support/ort.ts'

interface Case {
  readonly title: string
  readonly inputs: readonly Tensor[]
  /** Writes the node under test. */
  readonly write: (op: Builder, inputs: readonly Value[]) => Value
  /** Default: equal to the last bit but two. */
  readonly relative?: number
  readonly absolute?: number
  readonly opset?: number
}

function graphOf({ inputs, write }: Case): Graph {
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

async function valuesOf(graph: Graph, { inputs, opset = 20 }: Case): Promise<number[]> {
  const feeds = Object.fromEntries(inputs.map((each, i) => [`x${i}`, each]))
  const { y } = await runModel(new Model(graph, 10, new Map([['', opset]])), feeds)
  return y!.toNumbers()
}

function check(each: Case): void {
  test(each.title, async () => {
    const { relative = 3e-7, absolute = 0 } = each
    const expected = await valuesOf(graphOf(each), each)
    const graph = graphOf(each)
    narrowIntegers(graph)
    replaceNodes(graph, WEBGPU_FORMS)
    const lacking = graph.nodes.filter(({ opType }) => !WEBGPU_CAPABILITIES.operators.has(opType))
    assert.equal(
      lacking.map(node => node.label),
      [],
    )
    assertClose(await valuesOf(graph, each), expected, { relative, absolute }, printGraph(graph))
  })
}

const random = Random.of(20260801, 7)
const floats = (...shape: number[]) =>
  Tensor.of(
    'float32',
    shape,
    Array.from({ length: sizeOf(shape) }, () => 4 * random.float() - 2),
  )
const vector = (values: readonly number[], dtype: DType = 'float32') =>
  Tensor.of(dtype, [values.length], dtype === 'int64' ? values.map(BigInt) : values)
const truth = (...shape: number[]) =>
  Tensor.of(
    'bool',
    shape,
    Array.from({ length: sizeOf(shape) }, () => Number(random.float() < 0.5)),
  )

/** A node of one operator over the inputs, with the dtype of the first unless stated. */
const node =
  (opType: string, shape: Shape, attributes: Attributes = {}, dtype?: DType): Case['write'] =>
  (op, inputs) =>
    op.one(opType, inputs, dtype ? { shape, dtype } : { shape }, attributes)

const EXTREMES = vector([
  -3e38, -1e5, -88, -20, -1, -0.5, -1e-4, -1e-30, 0, 1e-30, 1e-4, 0.5, 1, 20, 88, 1e5, 3e38,
])
const HALVES = vector([-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49999997, -0.49999997, 8388609, 1e30, -7.3])

// Element-wise.
check({ title: 'Sum', inputs: [floats(2, 3), floats(3), floats(2, 1)], write: node('Sum', [2, 3]) })
check({ title: 'Sum of one', inputs: [floats(3)], write: node('Sum', [3]) })
check({ title: 'Mean', inputs: [floats(2, 3), floats(3), floats(2, 1)], write: node('Mean', [2, 3]) })
check({ title: 'Sign', inputs: [EXTREMES], write: node('Sign', EXTREMES.dims) })
check({ title: 'Round', inputs: [HALVES], write: node('Round', HALVES.dims) })
check({ title: 'Or', inputs: [truth(4, 5), truth(5)], write: node('Or', [4, 5]) })
check({ title: 'Xor', inputs: [truth(4, 5), truth(5)], write: node('Xor', [4, 5]) })
check({ title: 'Equal of truth values', inputs: [truth(4, 5), truth(4, 1)], write: node('Equal', [4, 5]) })
check({ title: 'Selu', inputs: [EXTREMES], write: node('Selu', EXTREMES.dims), absolute: 3e-7 })
check({
  title: 'Selu {alpha gamma}',
  inputs: [floats(9)],
  write: node('Selu', [9], { alpha: float(0.7), gamma: float(2.5) }),
  absolute: 3e-7,
})
check({ title: 'Celu', inputs: [EXTREMES], write: node('Celu', EXTREMES.dims), absolute: 3e-7 })
check({
  title: 'Celu {alpha}',
  inputs: [floats(9)],
  write: node('Celu', [9], { alpha: float(0.3) }),
  absolute: 3e-7,
})
check({ title: 'Softsign', inputs: [EXTREMES], write: node('Softsign', EXTREMES.dims) })
check({
  title: 'CastLike',
  inputs: [vector([0, 3, -4], 'int32'), floats(2)],
  write: node('CastLike', [3], {}, 'float32'),
})

// Normalizing.
for (const axis of [0, 1, -1]) {
  check({
    title: `LogSoftmax {axis=${axis}}`,
    inputs: [Tensor.of('float32', [3, 4], [...EXTREMES.toNumbers().slice(1, 12), 90])],
    write: node('LogSoftmax', [3, 4], { axis }),
    absolute: 1e-6,
  })
}
for (const [title, axes, attributes, shape] of [
  ['one axis', [1], { keepdims: 1 }, [3, 1, 4]],
  ['two axes, dropped', [0, -1], { keepdims: 0 }, [5]],
  ['no axes: all', [], { keepdims: 0 }, []],
  ['no axes: none', [], { noop_with_empty_axes: 1 }, [3, 5, 4]],
] as const) {
  check({
    title: `ReduceLogSumExp, ${title}`,
    inputs: [floats(3, 5, 4)],
    write: (op, [x]) => op.one('ReduceLogSumExp', [x!, op.int64s(axes)], { shape }, attributes),
    absolute: 1e-6,
  })
}
test('ReduceLogSumExp of large and of infinite elements', async () => {
  // Not beside the CPU provider, for which one -∞ makes the whole sum -∞.
  const each: Case = {
    title: '',
    inputs: [Tensor.of('float32', [3, 2], [300, 299, -Infinity, -Infinity, -Infinity, -500])],
    write: (op, [x]) => op.one('ReduceLogSumExp', [x!, op.int64s([1])], { shape: [3, 1] }),
  }
  const graph = graphOf(each)
  replaceNodes(graph, WEBGPU_FORMS)
  const expected = [300 + Math.log1p(Math.exp(-1)), -Infinity, -500]
  assertClose(await valuesOf(graph, each), expected, { relative: 1e-6 }, 'log of sums')
})
for (const [units, opset] of [
  [6, 21],
  [3, 18],
] as const) {
  check({
    title: `GroupNormalization with ${units} scales`,
    inputs: [floats(2, 6, 3, 5), floats(units), floats(units)],
    write: node('GroupNormalization', [2, 6, 3, 5], { num_groups: 3, epsilon: float(1e-3) }),
    absolute: 2e-6,
    opset,
  })
}

// Positions and sources.
for (const axis of [-1, 0, 1]) {
  check({
    title: `OneHot {axis=${axis}}`,
    inputs: [vector([0, 2, -1, 3, 7, -5, -4], 'int64'), vector([-1, 5])],
    write: (op, [indices, values]) => {
      const shape = axis === 0 ? [4, 7] : [7, 4]
      return op.one('OneHot', [indices!, op.int64s([4]), values!], { shape, dtype: 'float32' }, { axis })
    },
  })
}
for (const value of [undefined, 2.5]) {
  check({
    title: `ConstantOfShape ${value ?? ''}`,
    inputs: [floats(1)],
    write: (op, [x]) => {
      const attributes: Attributes =
        value === undefined ? {} : { value: { kind: 'tensor', value: Tensor.of('float32', [1], [value]) } }
      return op.Mul(
        op.one('ConstantOfShape', [op.int64s([2, 3])], { shape: [2, 3], dtype: 'float32' }, attributes),
        x!,
      )
    },
  })
}
for (const k of [-1, 0, 2]) {
  check({ title: `EyeLike {k=${k}}`, inputs: [floats(3, 4)], write: node('EyeLike', [3, 4], { k }) })
}
for (const [axis, keepdims] of [
  [1, 0],
  [0, 1],
  [-1, 1],
] as const) {
  check({
    title: `ArgMax {axis=${axis} keepdims=${keepdims}} in int32`,
    inputs: [Tensor.of('float32', [2, 3, 2], [1, 5, 1, 5, 0, 2, -1, -2, -1, 7, -3, 7])],
    write: (op, [x]) => {
      const shape = [2, 3, 2].flatMap((dim, i) => (i === (axis + 3) % 3 ? (keepdims ? [1] : []) : [dim]))
      return op.Cast(op.one('ArgMax', [x!], { shape, dtype: 'int64' }, { axis, keepdims }), 'int32')
    },
  })
}
check({
  title: 'SpaceToDepth',
  inputs: [floats(2, 3, 4, 6)],
  write: node('SpaceToDepth', [2, 12, 2, 3], { blocksize: 2 }),
})

// Convolutions. Sums of products in another order: a few roundings of the largest term.
const SUMS = { absolute: 1e-5, relative: 1e-5 }
check({
  title: 'Conv of volumes with groups, strides, dilations, asymmetric pads and a bias',
  inputs: [floats(2, 4, 5, 6, 7), floats(6, 2, 2, 3, 2), floats(6)],
  write: node('Conv', [2, 6, 3, 6, 7], {
    kernel_shape: [2, 3, 2],
    strides: [2, 1, 1],
    dilations: [2, 1, 3],
    pads: [1, 0, 2, 1, 2, 1],
    group: 2,
  }),
  ...SUMS,
})
check({
  title: 'Conv of volumes, each channel for itself, SAME_UPPER',
  inputs: [floats(1, 3, 4, 5, 6), floats(3, 1, 3, 3, 3)],
  write: node('Conv', [1, 3, 2, 3, 3], {
    kernel_shape: [3, 3, 3],
    strides: [2, 2, 2],
    auto_pad: 'SAME_UPPER',
    group: 3,
  }),
  ...SUMS,
})
for (const [title, write] of Object.entries({
  'groups, strides, dilations, pads and output_padding': node('ConvTranspose', [2, 6, 10, 8, 7], {
    kernel_shape: [2, 3, 2],
    strides: [2, 1, 1],
    dilations: [3, 1, 2],
    pads: [1, 0, 1, 0, 0, 0],
    output_padding: [1, 0, 0],
    group: 2,
  }),
  output_shape: node('ConvTranspose', [2, 6, 9, 8, 7], {
    kernel_shape: [2, 3, 2],
    strides: [2, 1, 1],
    output_shape: [9, 8, 7],
    group: 2,
  }),
  'stride beyond the kernel': node('ConvTranspose', [2, 6, 14, 8, 7], {
    kernel_shape: [2, 3, 2],
    strides: [4, 1, 1],
    group: 2,
  }),
})) {
  check({
    title: `ConvTranspose of volumes, ${title}`,
    inputs: [floats(2, 4, 4, 6, 6), floats(4, 3, 2, 3, 2), floats(6)],
    write,
    ...SUMS,
  })
}
for (const [rank, shape, attributes] of [
  [1, [2, 3, 11], { strides: [2], pads: [1, 0], output_padding: [1] }],
  [2, [2, 3, 11, 7], { strides: [2, 1], dilations: [1, 2], pads: [1, 0, 0, 1], output_padding: [1, 0] }],
] as const) {
  check({
    title: `ConvTranspose of rank ${rank} with groups of one output channel and even ones of inputs`,
    inputs: [floats(2, 12, ...[5, 4].slice(0, rank)), floats(12, 1, ...[3, 3].slice(0, rank)), floats(3)],
    write: node('ConvTranspose', shape, { kernel_shape: [3, 3].slice(0, rank), ...attributes, group: 3 }),
    ...SUMS,
  })
}

test('convolutions whose kernels are right are left alone', () => {
  const rows: Omit<Case, 'title'>[] = [
    {
      inputs: [floats(1, 2, 5, 5, 5), floats(4, 2, 2, 2, 2)],
      write: node('Conv', [1, 4, 4, 4, 4], { kernel_shape: [2, 2, 2] }),
    },
    {
      inputs: [floats(1, 6, 5, 5), floats(6, 1, 2, 2)],
      write: node('ConvTranspose', [1, 2, 6, 6], { kernel_shape: [2, 2], group: 2 }),
    },
    {
      inputs: [floats(1, 4, 5, 5), floats(4, 2, 2, 2)],
      write: node('ConvTranspose', [1, 4, 6, 6], { kernel_shape: [2, 2], group: 2 }),
    },
  ]
  for (const each of rows) {
    const graph = graphOf({ title: '', ...each })
    const before = printGraph(graph)
    replaceNodes(graph, WEBGPU_FORMS)
    assert.is(printGraph(graph), before)
  }
})

test('ceil_mode goes where it adds no window', async () => {
  const modeOf = async (size: number, shape: Shape, attributes: Attributes) => {
    const inputs = [floats(1, 2, size, size)]
    const each: Case = { title: '', inputs, write: node('MaxPool', shape, { ...attributes, ceil_mode: 1 }) }
    const graph = graphOf(each)
    replaceNodes(graph, WEBGPU_FORMS)
    assert.equal(await valuesOf(graph, each), await valuesOf(graphOf(each), each))
    return graph.nodes[0]!.int('ceil_mode', 0)
  }
  const dropped = { kernel_shape: [2, 2], pads: [1, 1, 1, 1], strides: [3, 3] }
  assert.is(await modeOf(5, [1, 2, 2, 2], dropped), 0)
  assert.is(await modeOf(6, [1, 2, 3, 3], { kernel_shape: [3, 3], strides: [2, 2] }), 1)
})

/** A narrowed graph's text, and its values against those before. */
async function narrowed(each: Case): Promise<string> {
  const expected = await valuesOf(graphOf(each), each)
  const graph = graphOf(each)
  narrowIntegers(graph)
  assert.equal(await valuesOf(graph, each), expected)
  return printGraph(graph)
}

test('labels become int32 where they come in', async () => {
  const text = await narrowed({
    title: '',
    inputs: [vector([2, 0, -100], 'int64')],
    write: (op, [labels]) => {
      const known = op.constant(Tensor.of('int64', [1, 3], [0n, 1n, 2n]))
      return op.Cast(op.Equal(op.Reshape(labels!, [3, 1]), known), 'float32')
    },
  })
  assert.snapshot(
    text,
    `graph form (x0<int64,[3]>)
  weight const_1<int64,[2]>
  weight const_0_1<int32,[1,3]>
  Equal_1/Cast_0<int32,[3]> = Cast {to=6} (x0)
  Equal_1/Reshape_1<int32,[3,1]> = Reshape (Equal_1/Cast_0, const_1)
  Equal_1<bool,[3,3]> = Equal (Equal_1/Reshape_1, const_0_1)
  y<float32,[3,3]> = Cast {to=1} (Equal_1)
  return y<float32,[3,3]>`,
  )
})

test('computed indices become int32, given ones stay', async () => {
  const rows = floats(4, 2)
  const given = await narrowed({
    title: '',
    inputs: [rows, vector([3, 0, -1], 'int64')],
    write: (op, [x, at]) => op.Gather(x!, at!, 0),
  })
  assert.not.match(given, 'int32')
  const computed = await narrowed({
    title: '',
    inputs: [rows, vector([3, 0, -1], 'int64')],
    write: (op, [x, at]) =>
      op.ScatterElements(
        x!,
        op.Expand(op.Reshape(at!, [3, 1]), [3, 2]),
        op.floats([3, 2], [1, 2, 3, 4, 5, 6]),
        0,
        'add',
      ),
  })
  assert.match(computed, /Expand_\d+<int32,\[3,2\]>/)
})

test('shapes and what an int32 does not hold stay int64', async () => {
  const shaped = await narrowed({
    title: '',
    inputs: [floats(2, 3), vector([3, 2], 'int64')],
    write: (op, [x, shape]) => op.one('Reshape', [x!, op.Add(shape!, op.int64s([0, 0]))], { shape: [3, 2] }),
  })
  assert.not.match(shaped, 'int32')
  const large = await narrowed({
    title: '',
    inputs: [vector([3, 2], 'int64')],
    write: (op, [x]) => op.Cast(op.Less(x!, op.constant(Tensor.of('int64', [1], [2n ** 40n]))), 'float32'),
  })
  assert.not.match(large, 'int32')
})

test.run()
