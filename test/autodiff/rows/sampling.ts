/** Reading between elements, and putting images together. */

import { COMPOSITE_LOWERINGS, lowerComposites } from '../../../src/autodiff/lowering/index.ts'
import type { Attributes } from '../../../src/ir/builder.ts'
import type { Shape } from '../../../src/tensor/shape.ts'
import { constants, type GradRow, type InputSpec } from '../../support/grad-row.ts'

const lower: GradRow['lower'] = graph => lowerComposites(graph, COMPOSITE_LOWERINGS)

/** Points inside and outside, none at an element or half-way between two. */
const grid = (shape: Shape): InputSpec => ({ shape, domain: [-1.6, 1.6] })

const gridSample = (attributes: Attributes, opset = 20): GradRow[] => [
  {
    op: 'GridSample',
    attributes,
    inputs: [[2, 3, 4, 5], grid([2, 3, 2, 2])],
    opset,
    // onnxruntime has the older versions in float32 only.
    dtype: opset < 20 ? 'float32' : 'float64',
  },
]

const rois: InputSpec = {
  shape: [3, 4],
  values: [0.3, 0.7, 6.1, 5.2, -2.1, 1.3, 4.4, 9.2, 2.2, 2.1, 2.9, 2.4],
  differentiable: false,
}
const images: InputSpec = { shape: [3], dtype: 'int64', values: [1, 0, 1] }

const roiAlign = (attributes: Attributes): GradRow => ({
  op: 'RoiAlign',
  attributes: { output_height: 2, output_width: 3, sampling_ratio: 2, ...attributes },
  inputs: [[2, 3, 6, 7], rois, images],
})

const deformConv = (inputs: GradRow['inputs'], attributes: Attributes): GradRow => ({
  op: 'DeformConv',
  attributes,
  inputs,
  opset: 19,
})

const moved = (shape: Shape): InputSpec => ({ shape, domain: [-1.3, 1.3] })

export const samplingRows: readonly GradRow[] = [
  ...['zeros', 'border', 'reflection'].flatMap(padding_mode =>
    [0, 1].flatMap(align_corners => [
      ...['linear', 'nearest', 'cubic'].flatMap(mode => gridSample({ mode, padding_mode, align_corners })),
      ...gridSample({ mode: 'bicubic', padding_mode, align_corners }, 18),
    ]),
  ),
  ...gridSample({ mode: 'bilinear' }, 18),
  ...['linear', 'nearest'].flatMap(mode =>
    ['zeros', 'reflection'].map((padding_mode): GradRow => ({
      op: 'GridSample',
      attributes: { mode, padding_mode },
      inputs: [[1, 2, 3, 4, 3], grid([1, 2, 1, 3, 3])],
    })),
  ),
  roiAlign({}),
  roiAlign({ coordinate_transformation_mode: 'output_half_pixel' }),
  roiAlign({ mode: 'max', sampling_ratio: 1 }),
  deformConv([[1, 2, 4, 5], [3, 2, 2, 2], moved([1, 8, 3, 4])], {}),
  deformConv(
    [[2, 4, 5, 4], [4, 2, 3, 2], moved([2, 24, 2, 4]), [4], { shape: [2, 12, 2, 4], domain: [0, 1] }],
    { group: 2, offset_group: 2, strides: [2, 1], pads: [0, 1, 1, 0], dilations: [1, 1] },
  ),
  {
    op: 'Col2Im',
    inputs: [[2, 8, 6], constants(3, 4), constants(2, 2)],
    dtype: 'float32',
    lower,
  },
  {
    op: 'Col2Im',
    attributes: { strides: [2, 1], dilations: [1, 2], pads: [1, 0, 0, 1] },
    inputs: [[1, 12, 6], constants(5, 4), constants(3, 2)],
    dtype: 'float32',
    lower,
  },
  ...[0, 1].flatMap((align_corners): GradRow[] => [
    { op: 'AffineGrid', attributes: { align_corners }, inputs: [[2, 2, 3], constants(2, 1, 3, 4)] },
    { op: 'AffineGrid', attributes: { align_corners }, inputs: [[1, 3, 4], constants(1, 1, 2, 3, 2)] },
  ]),
]
