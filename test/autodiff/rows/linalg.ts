/** Matrix products. */

import { float } from '../../../src/ir/attribute.ts'
import type { Shape } from '../../../src/tensor/shape.ts'
import type { GradRow } from '../../support/grad-row.ts'

/** A [2,3] and B [3,4], stored straight or transposed. */
const GEMM = [false, true].flatMap(transA =>
  [false, true].map(transB => ({
    attributes: { transA: Number(transA), transB: Number(transB) },
    a: transA ? [3, 2] : [2, 3],
    b: transB ? [4, 3] : [3, 4],
  })),
)

// prettier-ignore
const MATMUL: readonly (readonly [Shape, Shape])[] = [
  [[2, 3], [3, 4]],
  [[1, 3], [3, 1]],
  [[3], [3]],
  [[3], [3, 4]],
  [[2, 3], [3]],
  [[3], [2, 3, 4]],
  [[5, 2, 3], [3]],
  [[5, 2, 3], [3, 4]],
  [[2, 5, 2, 3], [3, 4]],
  [[2, 3], [5, 3, 4]],
  [[5, 2, 3], [5, 3, 4]],
  [[2, 1, 2, 3], [5, 3, 4]],
  [[1, 2, 3], [5, 3, 4]],
  [[2, 5, 1, 3], [1, 5, 3, 1]],
]

export const linalgRows: readonly GradRow[] = [
  ...GEMM.map(({ attributes, a, b }) => ({ op: 'Gemm', attributes, inputs: [a, b] })),
  ...GEMM.map(({ attributes, a, b }) => ({
    op: 'Gemm',
    attributes: { ...attributes, alpha: float(0.5), beta: float(-2) },
    inputs: [a, b, [2, 4]],
  })),
  ...[[4], [1, 4], [2, 1], [1, 1], [1], []].map(c => ({ op: 'Gemm', inputs: [[2, 3], [3, 4], c] })),
  ...MATMUL.map(inputs => ({ op: 'MatMul', inputs })),
]
