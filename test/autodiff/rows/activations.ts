/** Activation functions. */

import { float } from '../../../src/ir/attribute.ts'
import type { GradRow, InputSpec } from '../../support/grad-row.ts'

const shape = [2, 3, 4]
const bound = (value: number): InputSpec => ({ shape: [], values: [value], constant: true })

/** onnxruntime's CPU engine has most activations in float32 only. */
const FLOAT32: readonly GradRow[] = [
  { op: 'LeakyRelu', inputs: [shape], kinks: [0] },
  { op: 'LeakyRelu', attributes: { alpha: float(0.3) }, inputs: [shape], kinks: [0] },
  { op: 'LeakyRelu', attributes: { alpha: float(-0.5) }, inputs: [shape], kinks: [0] },
  { op: 'HardSigmoid', inputs: [shape], domain: [-4, 4], kinks: [-2.5, 2.5] },
  {
    op: 'HardSigmoid',
    attributes: { alpha: float(1 / 6), beta: float(0.5) },
    inputs: [shape],
    domain: [-5, 5],
    kinks: [-3, 3],
  },
  { op: 'HardSwish', inputs: [shape], domain: [-5, 5], kinks: [-3, 3] },
  { op: 'Softplus', inputs: [shape], domain: [-5, 5] },
  { op: 'Elu', inputs: [shape], kinks: [0] },
  { op: 'Elu', attributes: { alpha: float(0.5) }, inputs: [shape], kinks: [0] },
  { op: 'Selu', inputs: [shape], kinks: [0] },
  { op: 'Selu', attributes: { alpha: float(1.2), gamma: float(0.7) }, inputs: [shape], kinks: [0] },
  { op: 'Celu', inputs: [shape], kinks: [0] },
  { op: 'Celu', attributes: { alpha: float(2) }, inputs: [shape], kinks: [0] },
  { op: 'Softsign', inputs: [shape], kinks: [0] },
  { op: 'Mish', inputs: [shape] },
  { op: 'Gelu', inputs: [shape], domain: [-4, 4] },
  { op: 'Gelu', attributes: { approximate: 'tanh' }, inputs: [shape], domain: [-4, 4] },
  { op: 'PRelu', inputs: [shape, [1]], kinks: [0] },
  { op: 'PRelu', inputs: [shape, [3, 1]], kinks: [0] },
  { op: 'PRelu', inputs: [shape, shape], kinks: [0] },
  { op: 'ThresholdedRelu', inputs: [shape], kinks: [1] },
  { op: 'Shrink', inputs: [shape], kinks: [-0.5, 0.5] },
  {
    op: 'Shrink',
    attributes: { lambd: float(0.8), bias: float(0.8) },
    inputs: [shape],
    kinks: [-0.8, 0.8],
  },
]

export const activationRows: readonly GradRow[] = [
  ...FLOAT32.map((row): GradRow => ({ ...row, dtype: 'float32' })),
  { op: 'Relu', inputs: [shape], kinks: [0] },
  { op: 'Sigmoid', inputs: [shape], domain: [-5, 5] },
  { op: 'Tanh', inputs: [shape], domain: [-3, 3] },
  { op: 'Clip', inputs: [shape, bound(-1), bound(0.5)], kinks: [-1, 0.5] },
  { op: 'Clip', inputs: [shape, null, bound(0.5)], kinks: [0.5] },
  { op: 'Clip', inputs: [shape, bound(0)], kinks: [0] },
  { op: 'Clip', inputs: [shape] },
  {
    op: 'Clip',
    inputs: [shape, { shape: [], domain: [-1, -0.5] }, { shape: [], domain: [0.5, 1] }],
    kinks: [],
  },
]
