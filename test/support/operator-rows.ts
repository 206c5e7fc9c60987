/** Single operators with inputs that a rule's domain allows: what engines are compared on beyond fixtures/ops. */

import { RULES } from '../../src/autodiff/index.ts'
import { float } from '../../src/ir/attribute.ts'
import type { Attributes } from '../../src/ir/builder.ts'
import type { DType } from '../../src/tensor/dtype.ts'
import type { Shape } from '../../src/tensor/shape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

/** A float input of seeded values in a domain, or a tensor as it is. */
export type OperatorInput = { readonly shape: Shape; readonly from?: number; readonly to?: number } | Tensor

export interface OperatorRow {
  readonly op: string
  /** Fed inputs; null is an absent one. */
  readonly inputs: readonly (OperatorInput | null)[]
  /** Initializers behind them: axes, shapes. */
  readonly constants?: readonly (Tensor | null)[]
  readonly attributes?: Attributes
  readonly output: Shape
  readonly dtype?: DType
  /** Types of further outputs. */
  readonly more?: readonly { readonly shape: Shape; readonly dtype: DType }[]
  /** Compared too: the gradient by each float input. */
  readonly gradient?: boolean
}

const int64 = (...values: number[]) => Tensor.of('int64', [values.length], values.map(BigInt))
const int32 = (...values: number[]) => Tensor.of('int32', [values.length], values)
const scalar64 = (value: number) => Tensor.of('int64', [], [BigInt(value)])
const bool = (shape: Shape, ...values: number[]) => Tensor.of('bool', shape, values)
const x = (...shape: number[]): OperatorInput => ({ shape })
const positive = (...shape: number[]): OperatorInput => ({ shape, from: 0.2, to: 2 })
const inside = (...shape: number[]): OperatorInput => ({ shape, from: -0.9, to: 0.9 })

const unary = (op: string, input: OperatorInput = x(2, 3, 4)): OperatorRow => ({
  op,
  inputs: [input],
  output: [2, 3, 4],
  gradient: op in RULES,
})
const binary = (op: string, a: OperatorInput, b: OperatorInput, output: Shape): OperatorRow => ({
  op,
  inputs: [a, b],
  output,
  gradient: true,
})
const compare = (op: string): OperatorRow => ({ op, inputs: [x(2, 3), x(3)], output: [2, 3], dtype: 'bool' })
const reduce = (op: string, axes: number[], output: Shape, keepdims: number): OperatorRow => ({
  ...{ op, inputs: [positive(2, 3, 4)], constants: [int64(...axes)], output },
  ...{ attributes: { keepdims }, gradient: op in RULES },
})
const pad = (mode: string): OperatorRow => ({
  ...{ op: 'Pad', inputs: [x(1, 2, 5, 4)], constants: [int64(0, 0, 2, 1, 0, 0, 1, 3)] },
  ...{ output: [1, 2, 8, 8], attributes: { mode }, gradient: true },
})

export const OPERATOR_ROWS: readonly OperatorRow[] = [
  ...[
    'Abs',
    'Asinh',
    'Atan',
    'Ceil',
    'Cos',
    'Cosh',
    'Erf',
    'Exp',
    'Floor',
    'Neg',
    'Relu',
    'Round',
    'Sigmoid',
    'Sign',
  ].map(op => unary(op)),
  ...['Sin', 'Sinh', 'Softplus', 'Tanh', 'Softsign', 'Mish', 'Identity', 'Selu', 'Celu', 'Elu'].map(op =>
    unary(op),
  ),
  ...['Acos', 'Asin', 'Atanh', 'Tan'].map(op => unary(op, inside(2, 3, 4))),
  ...['Log', 'Reciprocal', 'Sqrt'].map(op => unary(op, positive(2, 3, 4))),
  unary('Acosh', { shape: [2, 3, 4], from: 1.2, to: 3 }),
  { ...unary('ThresholdedRelu'), attributes: { alpha: float(0.5) } },
  ...['Add', 'Sub', 'Mul', 'Max', 'Min'].map(op => binary(op, x(2, 1, 3), x(4, 1), [2, 4, 3])),
  ...['Div', 'Pow'].map(op => binary(op, positive(2, 1, 3), positive(4, 1), [2, 4, 3])),
  binary('PRelu', x(2, 3, 4), positive(3, 1), [2, 3, 4]),
  ...['Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual'].map(compare),
  { op: 'Div', inputs: [int32(7, -7, 7, -7, -6, 0), int32(2, 2, -2, -2, 3, 5)], output: [6], dtype: 'int32' },
  { op: 'Mod', inputs: [int32(7, -7, 7, -7, -6, 0), int32(2, 2, -2, -2, 4, 5)], output: [6], dtype: 'int32' },
  ...['And', 'Or', 'Xor'].map(op => ({
    ...{ op, inputs: [bool([4], 0, 0, 1, 1), bool([4], 0, 1, 0, 1)], output: [4], dtype: 'bool' as const },
  })),
  { op: 'Not', inputs: [bool([2], 0, 1)], output: [2], dtype: 'bool' },
  {
    op: 'Where',
    inputs: [bool([2, 1], 1, 0), x(2, 3), x(3)],
    output: [2, 3],
    dtype: 'float32',
    gradient: true,
  },
  { op: 'Sum', inputs: [x(2, 3), x(3), x(2, 1)], output: [2, 3], gradient: true },
  { op: 'Mean', inputs: [x(2, 3), x(3), x(2, 1)], output: [2, 3], gradient: true },
  {
    op: 'Clip',
    inputs: [x(2, 3)],
    constants: [Tensor.scalar('float32', -0.3)],
    output: [2, 3],
    gradient: true,
  },
  { op: 'Cast', inputs: [x(2, 3)], output: [2, 3], dtype: 'int64', attributes: { to: 7 } },
  { op: 'Cast', inputs: [int64(0, 3, -2)], output: [3], dtype: 'bool', attributes: { to: 9 } },

  binary('MatMul', x(5, 3), x(3, 2), [5, 2]),
  binary('MatMul', x(2, 4, 3), x(3, 5), [2, 4, 5]),
  binary('MatMul', x(2, 2, 4, 3), x(2, 2, 3, 5), [2, 2, 4, 5]),
  binary('MatMul', x(2, 1, 4, 3), x(3, 3, 5), [2, 3, 4, 5]),
  binary('MatMul', x(3), x(2, 3, 5), [2, 5]),
  binary('MatMul', x(2, 4, 3), x(3), [2, 4]),
  binary('MatMul', x(3), x(3), []),
  {
    op: 'Gemm',
    inputs: [x(3, 5), x(2, 3), x(2)],
    output: [5, 2],
    attributes: { transA: 1, transB: 1, alpha: float(0.5), beta: float(2) },
    gradient: true,
  },
  {
    op: 'Einsum',
    inputs: [x(2, 3, 4), x(2, 4, 5)],
    output: [2, 3, 5],
    attributes: { equation: 'bij,bjk->bik' },
  },

  { op: 'Reshape', inputs: [x(2, 3, 4)], constants: [int64(0, -1)], output: [2, 12], gradient: true },
  { op: 'Flatten', inputs: [x(2, 3, 4)], output: [6, 4], attributes: { axis: -1 }, gradient: true },
  { op: 'Squeeze', inputs: [x(2, 1, 3, 1)], constants: [int64(-1)], output: [2, 1, 3], gradient: true },
  { op: 'Unsqueeze', inputs: [x(2, 3)], constants: [int64(-1, 0)], output: [1, 2, 3, 1], gradient: true },
  {
    op: 'Transpose',
    inputs: [x(2, 3, 4)],
    output: [4, 2, 3],
    attributes: { perm: [2, 0, 1] },
    gradient: true,
  },
  { op: 'Expand', inputs: [x(3, 1)], constants: [int64(2, 1, 4)], output: [2, 3, 4], gradient: true },
  { op: 'Tile', inputs: [x(2, 3)], constants: [int64(1, 2)], output: [2, 6], gradient: true },
  {
    op: 'Concat',
    inputs: [x(2, 3), x(2, 1), x(2, 2)],
    output: [2, 6],
    attributes: { axis: -1 },
    gradient: true,
  },
  {
    op: 'Split',
    inputs: [x(2, 5)],
    constants: [int64(2, 3)],
    output: [2, 2],
    more: [{ shape: [2, 3], dtype: 'float32' }],
    attributes: { axis: 1 },
    gradient: true,
  },
  {
    op: 'Slice',
    inputs: [x(5, 6)],
    constants: [int64(-2, 1), int64(-6, 2 ** 40), int64(0, 1), int64(-1, 2)],
    output: [4, 3],
    gradient: true,
  },
  ...['constant', 'reflect', 'edge', 'wrap'].map(pad),
  {
    op: 'Pad',
    inputs: [x(4, 5)],
    constants: [int64(-1, 2, 1, -2), Tensor.scalar('float32', 3)],
    output: [4, 5],
    gradient: true,
  },
  { op: 'Trilu', inputs: [x(2, 3, 4)], constants: [scalar64(1)], output: [2, 3, 4], gradient: true },
  {
    op: 'DepthToSpace',
    inputs: [x(1, 8, 2, 3)],
    output: [1, 2, 4, 6],
    attributes: { blocksize: 2, mode: 'CRD' },
    gradient: true,
  },
  {
    op: 'DepthToSpace',
    inputs: [x(1, 8, 2, 3)],
    output: [1, 2, 4, 6],
    attributes: { blocksize: 2 },
    gradient: true,
  },
  {
    op: 'SpaceToDepth',
    inputs: [x(1, 2, 4, 6)],
    output: [1, 8, 2, 3],
    attributes: { blocksize: 2 },
    gradient: true,
  },
  {
    op: 'CumSum',
    inputs: [x(2, 3, 4)],
    constants: [scalar64(1)],
    output: [2, 3, 4],
    attributes: { exclusive: 1, reverse: 1 },
    gradient: true,
  },
  { op: 'Shape', inputs: [x(2, 3, 4)], output: [2], dtype: 'int64', attributes: { start: 1 } },
  { op: 'Size', inputs: [x(2, 3, 4)], output: [], dtype: 'int64' },
  { op: 'ConstantOfShape', inputs: [], constants: [int64(2, 3)], output: [2, 3], dtype: 'float32' },
  {
    op: 'Range',
    inputs: [],
    constants: [scalar64(2), scalar64(9), scalar64(3)],
    output: [3],
    dtype: 'int64',
  },

  ...[
    'ReduceSum',
    'ReduceMean',
    'ReduceMax',
    'ReduceMin',
    'ReduceProd',
    'ReduceL1',
    'ReduceL2',
    'ReduceSumSquare',
  ].flatMap(op => [reduce(op, [1], [2, 4], 0), reduce(op, [-1, 0], [1, 3, 1], 1)]),
  ...['ReduceLogSum', 'ReduceLogSumExp'].map(op => reduce(op, [0, 2], [3], 0)),
  {
    op: 'ArgMax',
    inputs: [Tensor.of('float32', [2, 4], [1, 3, 3, 0, 5, 5, 2, 5])],
    output: [2, 1],
    dtype: 'int64',
    attributes: { axis: 1 },
  },
  {
    op: 'ArgMax',
    inputs: [Tensor.of('float32', [2, 4], [1, 3, 3, 0, 5, 5, 2, 5])],
    output: [2],
    dtype: 'int64',
    attributes: { axis: 1, keepdims: 0, select_last_index: 1 },
  },
  { op: 'ArgMin', inputs: [x(3, 4)], output: [1, 4], dtype: 'int64' },

  {
    op: 'Gather',
    inputs: [x(4, 3)],
    constants: [Tensor.of('int64', [2, 2], [0n, -1n, 3n, 0n])],
    output: [2, 2, 3],
    gradient: true,
  },
  {
    op: 'Gather',
    inputs: [x(2, 4, 3)],
    constants: [scalar64(-2)],
    output: [2, 3],
    attributes: { axis: 1 },
    gradient: true,
  },
  {
    op: 'GatherElements',
    inputs: [x(3, 3)],
    constants: [Tensor.of('int64', [2, 3], [0n, -1n, 1n, 2n, 2n, 1n])],
    output: [2, 3],
    gradient: true,
  },
  {
    op: 'GatherND',
    inputs: [x(3, 2, 4)],
    constants: [Tensor.of('int64', [3, 2], [0n, 1n, -1n, 0n, 0n, 1n])],
    output: [3, 4],
    gradient: true,
  },
  {
    op: 'ScatterElements',
    inputs: [x(3, 4)],
    constants: [Tensor.of('int64', [1, 2], [1n, -1n]), Tensor.of('float32', [1, 2], [7, 0])],
    output: [3, 4],
    attributes: { axis: 1 },
  },
  {
    op: 'ScatterElements',
    inputs: [x(3, 4)],
    constants: [Tensor.of('int64', [2, 2], [1n, 1n, 0n, 2n]), Tensor.of('float32', [2, 2], [7, 5, 3, 2])],
    output: [3, 4],
    attributes: { axis: 1, reduction: 'add' },
  },
  {
    op: 'ScatterND',
    inputs: [x(4, 3)],
    constants: [Tensor.of('int64', [2, 1], [2n, -4n]), Tensor.of('float32', [2, 3], [1, 2, 3, 4, 5, 6])],
    output: [4, 3],
  },
  {
    op: 'TopK',
    inputs: [x(2, 5, 3)],
    constants: [int64(2)],
    output: [2, 2, 3],
    more: [{ shape: [2, 2, 3], dtype: 'int64' }],
    attributes: { axis: 1 },
    gradient: true,
  },
  {
    op: 'TopK',
    inputs: [x(2, 5)],
    constants: [int64(3)],
    output: [2, 3],
    more: [{ shape: [2, 3], dtype: 'int64' }],
    attributes: { largest: 0 },
  },
  {
    op: 'OneHot',
    inputs: [int64(0, 3, -1)],
    constants: [scalar64(4), Tensor.of('float32', [2], [-1, 2])],
    output: [4, 3],
    dtype: 'float32',
    attributes: { axis: 0 },
  },

  { op: 'Softmax', inputs: [x(2, 3, 4)], output: [2, 3, 4], attributes: { axis: 1 }, gradient: true },
  { op: 'LogSoftmax', inputs: [x(2, 3, 4)], output: [2, 3, 4], attributes: { axis: -1 }, gradient: true },
  { op: 'LpNormalization', inputs: [x(2, 3, 4)], output: [2, 3, 4], attributes: { axis: 1, p: 1 } },
  {
    op: 'LRN',
    inputs: [x(2, 5, 3, 4)],
    output: [2, 5, 3, 4],
    attributes: { size: 3, alpha: float(0.02), beta: float(0.6), bias: float(1.5) },
  },
]
