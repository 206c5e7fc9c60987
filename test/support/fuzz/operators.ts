/** What random graphs are made of. Domains are kept away from poles by what is written around an operator. */

import { float } from '../../../src/ir/attribute.ts'
import type { Value } from '../../../src/ir/value.ts'
import { broadcastShapes, sizeOf } from '../../../src/tensor/shape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import type { Draw, FuzzOperator, Maker } from './maker.ts'

type Write = (maker: Maker, x: Value) => Value | readonly Value[] | null

/** On any value of the ranks. */
function on(low: number, high: number, write: Write): Draw {
  return maker => {
    const x = maker.ofRank(low, high)
    return x && write(maker, x)
  }
}

const any = (write: Write): Draw => on(0, 5, write)

const unary = (name: string): Draw => any(({ op }, x) => op.one(name, [x], { shape: x.shape }))
const ofPositive = (name: string): Draw =>
  any((maker, x) => maker.op.one(name, [maker.positive(x)], { shape: x.shape }))

/** Another operand that broadcasts with x: a value that happens to, or a weight made to fit. */
function partner(maker: Maker, x: Value): Value {
  const fits = (value: Value) =>
    value.shape.every((dim, i) => dim === 1 || [1, dim].includes(x.shape.at(i - value.rank) ?? 1))
  const found = maker.chance(0.6) ? maker.any(fits) : null
  if (found) return found
  const from = maker.int(0, x.rank)
  return maker.weight(x.shape.slice(from).map(dim => (maker.chance(0.3) ? 1 : dim)))
}

const binary = (write: (maker: Maker, a: Value, b: Value) => Value): Draw =>
  any((maker, x) => {
    const y = partner(maker, x)
    return maker.chance(0.5) ? write(maker, x, y) : write(maker, y, x)
  })

const several = (name: string): Draw =>
  any((maker, x) => {
    const inputs = [x, ...Array.from({ length: maker.int(0, 2) }, () => partner(maker, x))]
    const shape = broadcastShapes(
      inputs.map(input => input.shape),
      name,
    )
    return maker.op.one(name, inputs, { shape })
  })

const reduction = (name: string, prepare: (maker: Maker, x: Value) => Value = (_, x) => x): Draw =>
  on(1, 5, (maker, x) => {
    const axes = maker.axes(x)
    const keepdims = maker.chance(0.5)
    const shape = x.shape.flatMap((dim, i) => (axes.includes(i) ? (keepdims ? [1] : []) : [dim]))
    const inputs = [prepare(maker, x), maker.op.int64s(axes)]
    return maker.op.one(name, inputs, { shape }, { keepdims: Number(keepdims) })
  })

const MatMul: Draw = on(1, 4, (maker, x) => {
  const { op } = maker
  const inner = x.shape.at(-1)!
  const batch = x.shape.slice(0, -2)
  const wide = maker.int(1, 4)
  const shape = maker.one([
    [inner],
    [inner, wide],
    [...batch.map(dim => (maker.chance(0.5) ? 1 : dim)), inner, wide],
  ])
  const w = maker.like(shape)
  const rows = x.rank > 1 ? [x.shape.at(-2)!] : []
  const columns = w.rank > 1 ? [wide] : []
  const stack = broadcastShapes([batch, w.shape.slice(0, -2)], 'MatMul')
  if (x.rank === 1 && w.rank > 2)
    return maker.tame(op.one('MatMul', [x, w], { shape: [...w.shape.slice(0, -2), wide] }))
  return maker.tame(op.one('MatMul', [x, w], { shape: [...stack, ...rows, ...columns] }))
})

const Gemm: Draw = on(2, 2, (maker, x) => {
  const [transA, transB] = [maker.chance(0.5), maker.chance(0.5)]
  const [rows, inner] = transA ? [x.shape[1]!, x.shape[0]!] : [x.shape[0]!, x.shape[1]!]
  const wide = maker.int(1, 4)
  const w = maker.like(transB ? [wide, inner] : [inner, wide])
  const bias = maker.chance(0.5) ? [maker.like(maker.one([[wide], [rows, wide], [1], []]))] : []
  const attributes = { transA: Number(transA), transB: Number(transB), alpha: float(0.7), beta: float(-1.5) }
  return maker.tame(maker.op.one('Gemm', [x, w, ...bias], { shape: [rows, wide] }, attributes))
})

const Reshape: Draw = any((maker, x) => {
  const size = sizeOf(x.shape)
  const divisors = Array.from({ length: size }, (_, i) => i + 1).filter(divisor => size % divisor === 0)
  const first = maker.one(divisors)
  return maker.op.Reshape(x, maker.one([[size], [first, size / first], [1, size], [first, 1, size / first]]))
})

const Slice: Draw = on(1, 5, (maker, x) => {
  const axis = maker.axis(x)
  const size = x.shape[axis]!
  const step = maker.one([1, 1, 2, -1])
  const start = maker.int(0, size - 1)
  return step > 0
    ? maker.op.Slice(x, [start], [maker.int(start + 1, size)], [axis], [step])
    : maker.op.Slice(x, [start], [-size - 1], [axis], [step])
})

const Pad: Draw = on(1, 4, (maker, x) => {
  const mode = maker.one(['constant', 'constant', 'edge', 'reflect', 'wrap'])
  const pads = [...x.shape, ...x.shape].map((_, i) => {
    const dim = x.shape[i % x.rank]!
    return mode === 'constant' ? maker.int(dim > 2 ? -1 : 0, 2) : maker.int(0, Math.min(2, dim - 1))
  })
  const shape = x.shape.map((dim, i) => dim + pads[i]! + pads[i + x.rank]!)
  const filling = mode === 'constant' && maker.chance(0.5) ? [maker.op.scalarLike(x, 0.7)] : []
  return maker.op.one('Pad', [x, maker.op.int64s(pads), ...filling], { shape }, { mode })
})

const Gather: Draw = on(1, 4, (maker, x) => {
  const axis = maker.axis(x)
  return maker.op.Gather(x, maker.indices(maker.one([[], [1], [3], [2, 2]]), x.shape[axis]!), axis)
})

const GatherElements: Draw = on(1, 4, (maker, x) => {
  const axis = maker.axis(x)
  const shape = x.shape.map((dim, i) => (i === axis ? maker.int(1, 4) : maker.int(1, dim)))
  return maker.op.GatherElements(x, maker.indices(shape, x.shape[axis]!), axis)
})

const GatherND: Draw = on(2, 4, (maker, x) => {
  const { op } = maker
  const rows = [maker.int(1, 3)]
  const shape = [...rows, ...x.shape.slice(2)]
  const values = rows.flatMap(count =>
    Array.from({ length: count }, () => x.shape.slice(0, 2).map(dim => maker.int(-dim, dim - 1))),
  )
  const indices = op.constant(Tensor.of('int64', [...rows, 2], values.flat().map(BigInt)))
  return op.one('GatherND', [x, indices], { shape })
})

const Concat: Draw = on(1, 4, (maker, x) => {
  const axis = maker.axis(x)
  const others = Array.from({ length: maker.int(1, 2) }, () =>
    maker.like(x.shape.with(axis, maker.int(1, 2))),
  )
  return maker.op.Concat([x, ...others], axis)
})

const Split: Draw = on(1, 5, (maker, x) => {
  const axis = maker.axis(x)
  const size = x.shape[axis]!
  if (size < 2) return null
  const first = maker.int(1, size - 1)
  return maker.op.Split(x, [first, size - first], axis)
})

const Where: Draw = binary((maker, a, b) => {
  const shape = broadcastShapes([a.shape, b.shape], 'Where')
  const condition = Tensor.of('bool', shape, maker.numbers(sizeOf(shape), 0, 1))
  return maker.op.Where(maker.op.constant(condition), a, b)
})

const LayerNormalization: Draw = on(1, 4, (maker, x) => {
  if (x.shape.at(-1)! < 2) return null
  const scale = maker.like(x.shape.slice(-1))
  const bias = maker.chance(0.5) ? [maker.like(x.shape.slice(-1))] : []
  const attributes = { axis: -1, epsilon: float(0.3) }
  return maker.op.one('LayerNormalization', [x, scale, ...bias], { shape: x.shape }, attributes)
})

const TopK: Draw = on(1, 4, (maker, x) => {
  const axis = maker.axis(x)
  const k = maker.int(1, x.shape[axis]!)
  const shape = x.shape.with(axis, k)
  const outputs = [{ shape }, { shape, dtype: 'int64' as const }]
  return maker.op.emit('TopK', [x, maker.op.int64s([k])], outputs, { axis, largest: maker.int(0, 1) })[0]!
})

const MaxPool: Draw = on(3, 4, (maker, x) => {
  const spatial = x.shape.slice(2)
  const kernel_shape = spatial.map(dim => maker.int(1, Math.min(3, dim)))
  const strides = spatial.map(() => maker.int(1, 2))
  const shape = [
    ...x.shape.slice(0, 2),
    ...spatial.map((dim, i) => Math.floor((dim - kernel_shape[i]!) / strides[i]!) + 1),
  ]
  return maker.op.one('MaxPool', [x], { shape }, { kernel_shape, strides })
})

const AveragePool: Draw = on(3, 4, (maker, x) => {
  const spatial = x.shape.slice(2)
  const kernel_shape = spatial.map(dim => maker.int(1, Math.min(3, dim)))
  const shape = [...x.shape.slice(0, 2), ...spatial.map((dim, i) => dim - kernel_shape[i]! + 1)]
  return maker.op.one('AveragePool', [x], { shape }, { kernel_shape })
})

const Conv: Draw = on(3, 4, (maker, x) => {
  const spatial = x.shape.slice(2)
  const channels = x.shape[1]!
  const group = channels % 2 === 0 && maker.chance(0.4) ? 2 : 1
  const out = group * maker.int(1, 2)
  const kernel = spatial.map(() => maker.int(1, 3))
  const pads = [...kernel, ...kernel].map(k => k >> 1)
  const strides = spatial.map(() => maker.int(1, 2))
  const w = maker.weight([out, channels / group, ...kernel])
  const bias = maker.chance(0.5) ? [maker.like([out])] : []
  const shape = [
    x.shape[0]!,
    out,
    ...spatial.map((dim, i) => Math.floor((dim + 2 * pads[i]! - kernel[i]!) / strides[i]!) + 1),
  ]
  return maker.tame(
    maker.op.one('Conv', [x, w, ...bias], { shape }, { kernel_shape: kernel, pads, strides, group }),
  )
})

const ConvTranspose: Draw = on(3, 4, (maker, x) => {
  const spatial = x.shape.slice(2)
  const kernel = spatial.map(() => maker.int(1, 3))
  const strides = spatial.map(() => maker.int(1, 2))
  const out = maker.int(1, 3)
  const w = maker.weight([x.shape[1]!, out, ...kernel])
  const shape = [x.shape[0]!, out, ...spatial.map((dim, i) => (dim - 1) * strides[i]! + kernel[i]!)]
  return maker.tame(maker.op.one('ConvTranspose', [x, w], { shape }, { kernel_shape: kernel, strides }))
})

const GlobalAveragePool: Draw = on(3, 5, (maker, x) =>
  maker.op.one('GlobalAveragePool', [x], {
    shape: [...x.shape.slice(0, 2), ...x.shape.slice(2).map(() => 1)],
  }),
)

const InstanceNormalization: Draw = on(3, 4, (maker, x) => {
  if (sizeOf(x.shape.slice(2)) < 2) return null
  const channels = [x.shape[1]!]
  const inputs = [x, maker.like(channels), maker.like(channels)]
  return maker.op.one('InstanceNormalization', inputs, { shape: x.shape }, { epsilon: float(0.3) })
})

const SMOOTH: Readonly<Record<string, Draw>> = {
  Add: binary(({ op }, a, b) => op.Add(a, b)),
  Sub: binary(({ op }, a, b) => op.Sub(a, b)),
  Mul: binary((maker, a, b) => maker.tame(maker.op.Mul(a, b))),
  Div: binary((maker, a, b) => maker.op.Div(a, maker.positive(b))),
  Pow: binary((maker, a, b) => maker.tame(maker.op.Pow(maker.positive(a), maker.op.Tanh(b)))),
  square: any((maker, x) => maker.tame(maker.op.Pow(x, maker.op.scalarLike(x, maker.int(2, 3))))),
  Sum: several('Sum'),
  Where,
  Neg: unary('Neg'),
  Tanh: unary('Tanh'),
  Sigmoid: unary('Sigmoid'),
  Sin: unary('Sin'),
  Cos: unary('Cos'),
  Exp: any(({ op }, x) => op.Exp(op.Tanh(x))),
  Log: ofPositive('Log'),
  Sqrt: ofPositive('Sqrt'),
  Reciprocal: ofPositive('Reciprocal'),
  Identity: unary('Identity'),
  MatMul,
  Gemm,
  Softmax: on(1, 5, (maker, x) => maker.op.Softmax(x, maker.axis(x))),
  LogSoftmax: on(1, 5, (maker, x) => maker.op.LogSoftmax(x, maker.axis(x))),
  LayerNormalization,
  ReduceSum: reduction('ReduceSum'),
  ReduceMean: reduction('ReduceMean'),
  ReduceSumSquare: reduction('ReduceSumSquare', (maker, x) => maker.tame(x)),
  ReduceL2: reduction('ReduceL2', (maker, x) => maker.positive(x)),
  ReduceLogSum: reduction('ReduceLogSum', (maker, x) => maker.positive(x)),
  ReduceLogSumExp: reduction('ReduceLogSumExp'),
  Reshape,
  Flatten: on(1, 5, (maker, x) => {
    const axis = maker.int(0, x.rank)
    const shape = [sizeOf(x.shape.slice(0, axis)), sizeOf(x.shape.slice(axis))]
    return maker.op.one('Flatten', [x], { shape }, { axis })
  }),
  Unsqueeze: on(0, 3, (maker, x) => {
    const axis = maker.int(0, x.rank)
    return maker.op.one('Unsqueeze', [x, maker.op.int64s([axis])], { shape: x.shape.toSpliced(axis, 0, 1) })
  }),
  Squeeze: any((maker, x) => {
    const axis = x.shape.indexOf(1)
    return axis < 0
      ? null
      : maker.op.one('Squeeze', [x, maker.op.int64s([axis])], { shape: x.shape.toSpliced(axis, 1) })
  }),
  Transpose: on(2, 5, (maker, x) => maker.op.Transpose(x, [...maker.random.permutation(x.rank)])),
  Expand: any((maker, x) =>
    maker.op.Expand(x, [2, ...x.shape.map(dim => (dim === 1 ? maker.int(1, 3) : dim))]),
  ),
  Tile: on(1, 4, (maker, x) => {
    const repeats = x.shape.map(() => maker.int(1, 2))
    return maker.op.one('Tile', [x, maker.op.int64s(repeats)], {
      shape: x.shape.map((dim, i) => dim * repeats[i]!),
    })
  }),
  Concat,
  Split,
  Slice,
  Pad,
  Gather,
  GatherElements,
  GatherND,
  Trilu: on(2, 4, (maker, x) => maker.op.one('Trilu', [x], { shape: x.shape }, { upper: maker.int(0, 1) })),
  CumSum: on(1, 4, (maker, x) => {
    const attributes = { exclusive: maker.int(0, 1), reverse: maker.int(0, 1) }
    return maker.op.one(
      'CumSum',
      [x, maker.op.scalar(maker.axis(x), 'int64')],
      { shape: x.shape },
      attributes,
    )
  }),
}

const KINKS: Readonly<Record<string, Draw>> = {
  Relu: unary('Relu'),
  Abs: unary('Abs'),
  Clip: any(({ op }, x) =>
    op.one('Clip', [x, op.scalarLike(x, -0.6), op.scalarLike(x, 0.8)], { shape: x.shape }),
  ),
  Max: several('Max'),
  Min: several('Min'),
  ReduceMax: reduction('ReduceMax'),
  ReduceMin: reduction('ReduceMin'),
  ReduceL1: reduction('ReduceL1'),
  TopK,
  MaxPool,
}

const FLOAT32: Readonly<Record<string, Draw>> = {
  Erf: unary('Erf'),
  Softplus: unary('Softplus'),
  Gelu: unary('Gelu'),
  Mish: unary('Mish'),
  Sinh: any(({ op }, x) => op.one('Sinh', [op.Tanh(x)], { shape: x.shape })),
  Atan: unary('Atan'),
  Mean: several('Mean'),
  Conv,
  ConvTranspose,
  AveragePool,
  GlobalAveragePool,
  InstanceNormalization,
}

const rows = (
  table: Readonly<Record<string, Draw>>,
  traits: Omit<FuzzOperator, 'name' | 'draw'>,
): FuzzOperator[] => Object.entries(table).map(([name, draw]) => ({ name, draw, ...traits }))

export const FUZZ_OPERATORS: readonly FuzzOperator[] = [
  ...rows(SMOOTH, {}),
  ...rows(KINKS, { kinks: true }),
  ...rows(FLOAT32, { float32: true }),
]
