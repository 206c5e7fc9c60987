/** Gradients of matrix products. */

import type { Builder } from '../../ir/builder.ts'
import type { Value } from '../../ir/value.ts'
import { EXPANSIONS } from '../../ops/expansions/index.ts'
import { sizeOf } from '../../tensor/shape.ts'
import { broadcasting, expanded, type GradientRule, type RuleTable } from '../rule.ts'
import { range, scale } from './common.ts'

/** Y = α A' B' + β C, where A' is A or its transpose. */
const Gemm: GradientRule = context => {
  const { op, node, dy } = context
  const [a, b] = [node.input(0), node.input(1)]
  const transA = node.int('transA', 0) !== 0
  const transB = node.int('transB', 0) !== 0
  const alpha = node.float('alpha', 1)
  // dA' = α dY B'ᵀ and dB' = α A'ᵀ dY, each written so that it comes out as A and B are stored.
  const da = () =>
    transA
      ? op.Gemm(b, dy, { transA: transB, transB: true, alpha })
      : op.Gemm(dy, b, { transB: !transB, alpha })
  const db = () =>
    transB
      ? op.Gemm(dy, a, { transA: true, transB: transA, alpha })
      : op.Gemm(a, dy, { transA: !transA, alpha })
  return [
    context.needs(0) ? da() : null,
    context.needs(1) ? db() : null,
    context.needs(2) ? scale(op, dy, node.float('beta', 1)) : null,
  ]
}

/**
 * 1. B is one matrix (a linear layer): A's leading axes are rows, and both gradients are single matrix products.
 * 2. Batches of matrices: dA = dY Bᵀ and dB = Aᵀ dY; the driver sums over batch axes that were broadcast.
 *
 * A vector operand is a matrix with one row (A) or one column (B).
 */
const MatMul: GradientRule = context => {
  const { op, node } = context
  const [a, b] = [node.input(0), node.input(1)]
  const rowsOf = (x: Value) => (x.rank === 1 ? op.Reshape(x, [1, ...x.shape]) : x)
  const columnsOf = (x: Value) => (x.rank === 1 ? op.Reshape(x, [...x.shape, 1]) : x)
  const [m, k, n] = [a.rank === 1 ? 1 : a.shape.at(-2)!, a.shape.at(-1)!, b.rank === 1 ? 1 : b.shape.at(-1)!]
  const batch = node.output(0).shape.slice(0, Math.max(a.rank, b.rank, 2) - 2)

  if (b.rank <= 2) {
    const rows = sizeOf(a.shape.slice(0, -1))
    const dy = op.Reshape(context.dy, [rows, n])
    const da = () => op.Reshape(op.Gemm(dy, columnsOf(b), { transB: true }), a.shape)
    const db = () => op.Reshape(op.Gemm(op.Reshape(a, [rows, k]), dy, { transA: true }), b.shape)
    return [context.needs(0) ? da() : null, context.needs(1) ? db() : null]
  }
  const dy = op.Reshape(context.dy, [...batch, m, n])
  return [
    context.needs(0) ? op.MatMul(dy, transposed(op, b)) : null,
    context.needs(1) ? op.MatMul(transposed(op, rowsOf(a)), dy) : null,
  ]
}

function transposed(op: Builder, x: Value): Value {
  const axes = range(x.rank)
  return op.Transpose(x, [...axes.slice(0, -2), axes.at(-1)!, axes.at(-2)!])
}

export const linalgRules: RuleTable = {
  Gemm: broadcasting(Gemm),
  MatMul: broadcasting(MatMul),
  Einsum: expanded(EXPANSIONS.Einsum),
}
