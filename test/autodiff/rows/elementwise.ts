/** Element-wise arithmetic. */

import type { Shape } from '../../../src/tensor/shape.ts'
import type { GradRow, InputSpec } from '../../support/grad-row.ts'

// prettier-ignore
/** The pairs of shapes that broadcast to (2,3,2,3) in onnxruntime's gradient tests. */
const PAIRS: readonly (readonly [Shape, Shape])[] = [
  [[2, 3, 2, 3], [2, 3, 2, 3]],
  [[2, 3, 2, 3], []],
  [[], [2, 3, 2, 3]],
  [[2, 3, 2, 3], [3]],
  [[2, 3], [2, 3, 2, 3]],
  [[1, 2, 3], [2, 3, 1, 1]],
  [[3, 2, 3], [2, 1, 1, 1]],
  [[2, 1, 1, 3], [1, 3, 2, 1]],
]

/** Binary operators, with a domain away from poles. */
const BINARY: readonly Omit<GradRow, 'inputs'>[] = [
  { op: 'Add' },
  { op: 'Sub' },
  { op: 'Mul' },
  { op: 'Div', domain: [0.5, 2] },
  { op: 'Pow', domain: [0.5, 2] },
  { op: 'Max' },
  { op: 'Min' },
  { op: 'Sum' },
  { op: 'Mean', dtype: 'float32' },
]

const exponent = (...values: number[]): InputSpec => ({ shape: [values.length], values, constant: true })
const condition = (shape: Shape, ...values: number[]): InputSpec => ({ shape, dtype: 'bool', values })

export const elementwiseRows: readonly GradRow[] = [
  ...BINARY.flatMap(row => PAIRS.map(inputs => ({ ...row, inputs }))),
  { op: 'Sum', inputs: [[2, 3], [3], [2, 1]] },
  { op: 'Sum', inputs: [[2, 3]] },
  { op: 'Mean', inputs: [[2, 3], [], [2, 1]], dtype: 'float32' },
  { op: 'Max', inputs: [[2, 3], [3], [2, 1]] },
  { op: 'Max', inputs: [[2, 3]] },
  { op: 'Min', inputs: [[2, 3], [3], []] },
  ...[-1, 0, 0.5, 1, 2, 3, 2.5].map(n => ({
    op: 'Pow',
    inputs: [{ shape: [2, 3], domain: [0.5, 2] }, exponent(n)] satisfies GradRow['inputs'],
  })),
  { op: 'Pow', inputs: [{ shape: [2, 3], domain: [-2, -0.5] }, exponent(2, 3, -2)] },
  { op: 'Pow', inputs: [[2, 2], { shape: [2], dtype: 'int64', values: [3, 2], constant: true }] },
  // Quotients between whole numbers: 2 < |a / b| < 3.
  ...[
    [
      [2, 3],
      [2, 3],
    ],
    [[2, 3], []],
    [
      [2, 1],
      [1, 3],
    ],
  ].flatMap(([a, b]) =>
    [1, -1].map((sign): GradRow => ({
      op: 'Mod',
      attributes: { fmod: 1 },
      inputs: [
        { shape: a!, domain: sign > 0 ? [2.2, 2.6] : [-2.6, -2.2] },
        { shape: b!, domain: [0.9, 1.05] },
      ],
    })),
  ),
  { op: 'Where', inputs: [condition([2, 3], 1, 0, 0, 1, 1, 0), [2, 3], [2, 3]] },
  { op: 'Where', inputs: [condition([2, 1], 1, 0), [3], [2, 3]] },
  { op: 'Where', inputs: [condition([2, 1, 3], 1, 0, 1, 0, 1, 0), [4, 1], []] },

  { op: 'Neg', inputs: [[2, 3]] },
  { op: 'Abs', inputs: [[2, 3]], kinks: [0] },
  { op: 'Reciprocal', inputs: [[2, 3]], domain: [0.5, 2] },
  { op: 'Reciprocal', inputs: [[2, 3]], domain: [-2, -0.5] },
  { op: 'Sqrt', inputs: [[2, 3]], domain: [0.5, 3] },
  { op: 'Exp', inputs: [[2, 3]] },
  { op: 'Log', inputs: [[2, 3]], domain: [0.5, 3] },
  { op: 'Erf', inputs: [[2, 3]], dtype: 'float32' },
  { op: 'Sin', inputs: [[2, 3]] },
  { op: 'Cos', inputs: [[2, 3]] },
  { op: 'Tan', inputs: [[2, 3]], domain: [-1, 1], dtype: 'float32' },
  { op: 'Sinh', inputs: [[2, 3]], dtype: 'float32' },
  { op: 'Cosh', inputs: [[2, 3]], dtype: 'float32' },
  { op: 'Tanh', inputs: [[2, 3]] },
  { op: 'Asin', inputs: [[2, 3]], domain: [-0.8, 0.8], dtype: 'float32' },
  { op: 'Acos', inputs: [[2, 3]], domain: [-0.8, 0.8], dtype: 'float32' },
  { op: 'Atan', inputs: [[2, 3]], dtype: 'float32' },
  { op: 'Asinh', inputs: [[2, 3]], dtype: 'float32' },
  { op: 'Acosh', inputs: [[2, 3]], domain: [1.5, 3], dtype: 'float32' },
  { op: 'Atanh', inputs: [[2, 3]], domain: [-0.8, 0.8], dtype: 'float32' },
]
