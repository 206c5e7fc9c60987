/** Resize. */

import { float } from '../../../src/ir/attribute.ts'
import type { Attributes } from '../../../src/ir/builder.ts'
import type { Shape } from '../../../src/tensor/shape.ts'
import { constants, type GradRow, type InputSpec } from '../../support/grad-row.ts'

const floats = (...values: number[]): InputSpec => ({
  shape: [values.length],
  values,
  dtype: 'float32',
  constant: true,
})

const resize = (
  shape: Shape,
  to: { scales?: number[]; sizes?: number[]; roi?: number[] },
  attributes: Attributes,
): GradRow => ({
  op: 'Resize',
  inputs: [
    shape,
    to.roi ? floats(...to.roi) : null,
    to.scales ? floats(...to.scales) : null,
    ...(to.sizes ? [constants(...to.sizes)] : []),
  ],
  attributes,
  dtype: 'float32',
  delta: 0.5,
  tolerance: 3e-5,
  opset: 19,
})

const X = [2, 3, 4, 5]
export const resizeRows: readonly GradRow[] = [
  resize(
    X,
    { scales: [1, 1, 2, 2] },
    { mode: 'nearest', coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' },
  ),
  resize(X, { scales: [1, 1, 2.6, 0.7] }, { mode: 'nearest' }),
  resize(
    X,
    { sizes: [2, 3, 7, 3] },
    { mode: 'nearest', coordinate_transformation_mode: 'align_corners', nearest_mode: 'ceil' },
  ),
  resize(X, { sizes: [4, 2, 4, 5] }, { mode: 'nearest' }),
  resize(X, { scales: [1, 1, 2, 3] }, { mode: 'linear' }),
  resize(
    X,
    { sizes: [2, 3, 1, 9] },
    { mode: 'linear', coordinate_transformation_mode: 'pytorch_half_pixel' },
  ),
  resize(X, { sizes: [2, 3, 9, 2] }, { mode: 'linear', coordinate_transformation_mode: 'align_corners' }),
  resize(X, { scales: [1.5, 0.5] }, { mode: 'linear', axes: [2, 3] }),
  resize(X, { sizes: [8, 6] }, { mode: 'linear', axes: [3, 2], keep_aspect_ratio_policy: 'not_larger' }),
  resize(X, { sizes: [8, 6] }, { mode: 'nearest', axes: [2, 3], keep_aspect_ratio_policy: 'not_smaller' }),
  resize([2, 2, 5], { scales: [1, 1, 1.7] }, { mode: 'linear' }),
  resize([1, 2, 3, 4, 2], { scales: [1, 1, 2, 0.5, 2] }, { mode: 'linear' }),
  resize(X, { scales: [1, 1, 2, 3] }, { mode: 'cubic' }),
  resize(X, { sizes: [2, 3, 3, 9] }, { mode: 'cubic', exclude_outside: 1, cubic_coeff_a: float(-0.5) }),
  resize(X, { sizes: [2, 3, 9, 2] }, { mode: 'cubic', coordinate_transformation_mode: 'align_corners' }),
  resize([2, 3, 8, 9], { sizes: [2, 3, 3, 4] }, { mode: 'linear', antialias: 1 }),
  resize([2, 3, 8, 9], { sizes: [2, 3, 3, 12] }, { mode: 'cubic', antialias: 1 }),
  resize(
    X,
    { sizes: [2, 3, 6, 7], roi: [0, 0, 0.2, -0.2, 1, 1, 1.3, 0.7] },
    { mode: 'linear', coordinate_transformation_mode: 'tf_crop_and_resize', extrapolation_value: float(0) },
  ),
]
