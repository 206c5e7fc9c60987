/** The forms that the CPU engine chooses by shape: each against the default lowering, on the shapes that select it. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { convInputGrad, convWeightGrad } from '../../src/autodiff/composites.ts'
import {
  COMPOSITE_LOWERINGS,
  lowerComposites,
  type CompositeLowerings,
} from '../../src/autodiff/lowering/index.ts'
import { Builder } from '../../src/ir/builder.ts'
import { Graph, Model } from '../../src/ir/graph.ts'
import { Value } from '../../src/ir/value.ts'
import type { Window, WindowAxis } from '../../src/ops/window.ts'
import { CPU_LOWERINGS } from '../../src/runtime/ort-cpu/lowering/index.ts'
import { sizeOf, type Shape } from '../../src/tensor/shape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Random } from '../../src/util/random.ts'
import { relativeError } from '../support/close.ts'
import { runModel } from '../support/ort.ts'

/** Of the F(4x4, 3x3) transforms in float32; a direct convolution has 2e-7. */
const WINOGRAD_TOLERANCE = 1e-5
const TOLERANCE = 2e-6

interface ConvCase {
  readonly title: string
  readonly batch: number
  /** Input channels, output channels, groups. */
  readonly channels: readonly [number, number, number]
  readonly window: Window
  /** Operators that only the chosen form has, for dx and for dw. */
  readonly dx: string
  readonly dw: string
}

function axis(input: number, kernel: number, over: Partial<WindowAxis> = {}): WindowAxis {
  const { begin = 0, end = 0, stride = 1, dilation = 1 } = over
  const span = (kernel - 1) * dilation + 1
  const output = Math.floor((input + begin + end - span) / stride) + 1
  return { input, kernel, begin, end, stride, dilation, output }
}

const same = { begin: 1, end: 1 }
const strided = { ...same, stride: 2 }

/** `dx`: W Winograd, F flipped Conv, T ConvTranspose; `dw`: W Winograd, S sum of products, J joint product, R rows, G groups. */
const CASES: readonly ConvCase[] = [
  {
    title: '3x3',
    batch: 2,
    channels: [128, 130, 1],
    window: [axis(13, 3, same), axis(9, 3, same)],
    dx: 'W',
    dw: 'W',
  },
  {
    title: '3x3',
    batch: 2,
    channels: [128, 128, 1],
    window: [axis(29, 3, same), axis(31, 3, same)],
    dx: 'W',
    dw: 'W',
  },
  {
    title: '3x3 with asymmetric pads',
    ...{ batch: 3, channels: [128, 128, 1], dx: 'W', dw: 'W' },
    window: [axis(10, 3, { begin: 0, end: 2 }), axis(15, 3, { begin: 2, end: 1 })],
  },
  {
    title: '3x3 with asymmetric pads, not stacked',
    ...{ batch: 2, channels: [128, 129, 1], dx: 'W', dw: 'W' },
    window: [axis(33, 3, { begin: 2, end: 0 }), axis(30, 3, { begin: 0, end: 1 })],
  },
  {
    title: '3x3 without pads',
    batch: 1,
    channels: [16, 17, 1],
    window: [axis(12, 3), axis(14, 3)],
    dx: 'F',
    dw: 'W',
  },
  {
    title: '3x3 on a small map',
    batch: 2,
    channels: [128, 128, 1],
    window: [axis(3, 3, same), axis(2, 3, same)],
    dx: 'F',
    dw: 'J',
  },
  {
    title: '3x3 of few channels',
    batch: 2,
    channels: [5, 7, 1],
    window: [axis(9, 3, same), axis(9, 3, same)],
    dx: 'F',
    dw: 'J',
  },
  {
    title: '3x3 of few channels',
    batch: 2,
    channels: [5, 7, 1],
    window: [axis(20, 3, same), axis(15, 3, same)],
    dx: 'F',
    dw: 'S',
  },
  {
    title: '3x3 stride 2',
    batch: 2,
    channels: [16, 16, 1],
    window: [axis(14, 3, strided), axis(15, 3, strided)],
    dx: 'T',
    dw: 'J',
  },
  {
    title: '7x7 stride 2',
    batch: 2,
    channels: [3, 8, 1],
    window: [axis(32, 7, { begin: 3, end: 3, stride: 2 }), axis(33, 7, { begin: 3, end: 3, stride: 2 })],
    dx: 'T',
    dw: 'S',
  },
  { title: '1x1', batch: 2, channels: [6, 4, 1], window: [axis(14, 1), axis(14, 1)], dx: 'F', dw: 'J' },
  { title: '1x1', batch: 2, channels: [6, 14, 1], window: [axis(15, 1), axis(14, 1)], dx: 'F', dw: 'S' },
  {
    title: '1x1 stride 2',
    batch: 2,
    channels: [6, 4, 1],
    window: [axis(15, 1, { stride: 2 }), axis(14, 1, { stride: 2 })],
    dx: 'T',
    dw: 'J',
  },
  {
    title: '1x1 with pads',
    batch: 2,
    channels: [6, 4, 1],
    window: [axis(5, 1, same), axis(5, 1, same)],
    dx: 'T',
    dw: 'J',
  },
  {
    title: 'depthwise',
    batch: 2,
    channels: [6, 6, 6],
    window: [axis(9, 3, same), axis(8, 5, { begin: 2, end: 2 })],
    dx: 'F',
    dw: 'R',
  },
  {
    title: 'depthwise with asymmetric pads',
    batch: 2,
    channels: [6, 6, 6],
    window: [axis(9, 3, { begin: 2, end: 0 }), axis(8, 4, { begin: 0, end: 2 })],
    dx: 'F',
    dw: 'R',
  },
  {
    title: 'depthwise, a tap over padding alone',
    batch: 2,
    channels: [4, 4, 4],
    window: [axis(4, 3, same), axis(1, 3, same)],
    dx: 'F',
    dw: 'G',
  },
  {
    title: 'depthwise dilated',
    batch: 2,
    channels: [4, 4, 4],
    window: [axis(9, 3, { dilation: 2 }), axis(9, 3, same)],
    dx: 'F',
    dw: 'G',
  },
  {
    title: 'depthwise stride 2',
    batch: 2,
    channels: [6, 6, 6],
    window: [axis(9, 3, strided), axis(10, 3, strided)],
    dx: 'T',
    dw: 'R',
  },
  {
    title: 'depthwise, other strides and kernels',
    batch: 2,
    channels: [3, 3, 3],
    window: [axis(13, 5, { begin: 2, end: 1, stride: 3 }), axis(12, 4, { begin: 0, end: 2, stride: 2 })],
    dx: 'T',
    dw: 'R',
  },
  {
    title: 'depthwise, mixed strides and surplus rows',
    batch: 2,
    channels: [3, 3, 3],
    window: [axis(12, 3, { begin: 0, end: 0 }), axis(11, 2, { stride: 4 })],
    dx: 'T',
    dw: 'R',
  },
  {
    title: 'grouped',
    batch: 2,
    channels: [32, 64, 2],
    window: [axis(9, 3, same), axis(9, 3, same)],
    dx: 'F',
    dw: 'G',
  },
  {
    title: 'stride 2 and a surplus of rows',
    batch: 2,
    channels: [4, 5, 1],
    window: [axis(10, 3, { stride: 3 }), axis(11, 3, { stride: 2 })],
    dx: 'T',
    dw: 'J',
  },
  {
    title: 'one axis',
    batch: 2,
    channels: [4, 6, 2],
    window: [axis(12, 4, { begin: 2, end: 1 })],
    dx: 'F',
    dw: 'G',
  },
  {
    title: 'three axes',
    batch: 1,
    channels: [4, 6, 1],
    window: [axis(5, 2), axis(4, 3, same), axis(5, 3, strided)],
    dx: 'T',
    dw: 'J',
  },
]

const FORMS: Readonly<Record<string, (types: readonly string[]) => boolean>> = {
  W: types => types.filter(type => type === 'MatMul').length >= 2 && types.some(type => /^Conv/.test(type)),
  F: types => types.includes('Conv') && !types.includes('MatMul'),
  T: types => types.includes('ConvTranspose') && !types.includes('MatMul'),
  S: types => types.includes('ReduceSum') && types.filter(type => type === 'MatMul').length === 1,
  J: types => types.includes('Gemm'),
  R: types => types.includes('Concat') && types.filter(type => type === 'Conv').length > 1,
  G: types => types.includes('ReduceSum') && types.filter(type => type === 'MatMul').length === 1,
}

const input = (name: string, shape: Shape) => Value.typed(name, 'float32', shape)

function graphOf(op: Builder, inputs: Value[], output: Value): Graph {
  const graph = new Graph('g')
  graph.inputs = inputs
  graph.initializers = op.initializers
  graph.nodes = op.nodes
  graph.outputs = [output]
  return graph
}

/** Numbers in [−1, 1]. */
function sample(shape: Shape, stream: number): Tensor {
  const random = Random.of(7, stream)
  return Tensor.of(
    'float32',
    shape,
    Array.from({ length: sizeOf(shape) }, () => 2 * random.float() - 1),
  )
}

async function run(graph: Graph): Promise<number[]> {
  const feeds = Object.fromEntries(graph.inputs.map((value, i) => [value.name, sample(value.shape, i)]))
  const results = await runModel(new Model(graph, 8, new Map([['', 18]])), feeds)
  return results[graph.outputs[0]!.name]!.toNumbers()
}

async function compare(graph: Graph, form: string): Promise<void> {
  const lower = (table: CompositeLowerings) => lowerComposites(graph, table)
  const chosen = lower(CPU_LOWERINGS)
  const types = chosen.nodes.map(node => node.opType)
  assert.ok(FORMS[form]!(types), `form ${form} is not in ${types.join(' ')}`)
  const error = relativeError(await run(chosen), await run(lower(COMPOSITE_LOWERINGS)))
  const tolerance = form === 'W' ? WINOGRAD_TOLERANCE : TOLERANCE
  assert.ok(error <= tolerance, `relative error ${error}, allowed ${tolerance}`)
}

for (const { title, batch, channels, window, dx, dw } of CASES) {
  const [c, m, group] = channels
  const x = [batch, c, ...window.map(({ input: size }) => size)]
  const y = [batch, m, ...window.map(({ output: size }) => size)]
  const name = `${title}, ${c} to ${m} channels on ${x.slice(2).join('x')}`

  test(`ConvInputGrad: ${name}`, async () => {
    const op = new Builder(['dy', 'w'])
    const kernel = window.map(({ kernel: size }) => size)
    const [dy, w] = [input('dy', y), input('w', [m, c / group, ...kernel])]
    await compare(graphOf(op, [dy, w], convInputGrad(op, dy, w, x, window, group)), dx)
  })

  test(`ConvWeightGrad: ${name}`, async () => {
    const op = new Builder(['x', 'dy'])
    const [xs, dy] = [input('x', x), input('dy', y)]
    await compare(graphOf(op, [xs, dy], convWeightGrad(op, xs, dy, window, group)), dw)
  })
}

test.run()
