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
  [[0, 3], [3, 4]],
  [[2, 0], [0, 3]],
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

/** Equations and the shapes of their operands. */
// prettier-ignore
const EINSUM: readonly (readonly [equation: string, ...shapes: Shape[]])[] = [
  ['ij,jk->ik', [2, 3], [3, 4]],
  ['ij,jk', [2, 3], [3, 4]],
  ['bij,bjk->bik', [2, 3, 4], [2, 4, 5]],
  ['bhqd,bhkd->bhqk', [2, 2, 3, 4], [2, 2, 5, 4]],
  ['bqhd,bkhd->bhqk', [2, 3, 2, 4], [2, 5, 2, 4]],
  ['nchw,oc->nohw', [2, 3, 2, 2], [4, 3]],
  ['...ij,...jk->...ik', [2, 1, 3, 4], [2, 1, 4, 2]],
  ['...i,ij', [2, 3, 4], [4, 5]],
  ['i,j->ij', [3], [4]],
  ['i,i->', [3], [3]],
  ['ij,ij->ij', [2, 3], [2, 3]],
  ['ij,ij->j', [2, 3], [2, 3]],
  ['ij->ji', [2, 3]],
  ['ij->', [2, 3]],
  ['ij->i', [2, 3]],
  ['b...->...', [2, 3, 4]],
  ['ii->i', [3, 3]],
  ['ii', [3, 3]],
  ['iji,j->ij', [3, 4, 3], [4]],
  ['ij,jk,kl->il', [2, 3], [3, 4], [4, 2]],
  ['a,ab,abc->bc', [2], [2, 3], [2, 3, 4]],
  ['i,,j->ji', [2], [], [3]],
  ['ijk,ilm->kl', [2, 3, 4], [2, 5, 2]],
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
  ...EINSUM.map(([equation, ...inputs]): GradRow => ({ op: 'Einsum', attributes: { equation }, inputs })),
]
