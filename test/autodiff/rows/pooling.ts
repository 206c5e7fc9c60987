/** Poolings. */

import { COMPOSITE_LOWERINGS, lowerComposites } from '../../../src/autodiff/lowering/index.ts'
import type { Attributes } from '../../../src/ir/builder.ts'
import type { Shape } from '../../../src/tensor/shape.ts'
import { constants, type GradRow } from '../../support/grad-row.ts'

const lower: GradRow['lower'] = graph => lowerComposites(graph, COMPOSITE_LOWERINGS)

const maxPool = (shape: Shape, attributes: Attributes): GradRow => ({
  op: 'MaxPool',
  inputs: [shape],
  attributes,
  lower,
})

/** Linear, and without a float64 kernel. */
const averagePool = (shape: Shape, attributes: Attributes): GradRow => ({
  ...maxPool(shape, attributes),
  op: 'AveragePool',
  dtype: 'float32',
  delta: 0.5,
  tolerance: 3e-5,
})

const X = [2, 3, 7, 6]

const windows: [Shape, Attributes][] = [
  [X, { kernel_shape: [2, 2], strides: [2, 2] }],
  [X, { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }],
  [X, { kernel_shape: [3, 2], strides: [1, 3], pads: [0, 1, 2, 0] }],
  [X, { kernel_shape: [3, 2], strides: [2, 4], pads: [1, 0, 0, 1], ceil_mode: 1 }],
  [X, { kernel_shape: [2, 3], strides: [3, 3], pads: [1, 1, 1, 1], ceil_mode: 1 }],
  [X, { kernel_shape: [2, 2], strides: [1, 2], dilations: [3, 2], pads: [1, 0, 1, 1] }],
  [X, { kernel_shape: [2, 3], strides: [2, 2], dilations: [2, 2], ceil_mode: 1, pads: [1, 1, 1, 1] }],
  [X, { kernel_shape: [4, 3], strides: [3, 2], auto_pad: 'SAME_UPPER' }],
  [X, { kernel_shape: [4, 3], strides: [3, 2], auto_pad: 'SAME_LOWER' }],
  [X, { kernel_shape: [2, 2], strides: [3, 4], auto_pad: 'VALID' }],
  [[1, 2, 6, 7], { kernel_shape: [1, 1], strides: [3, 5], auto_pad: 'SAME_LOWER' }],
  [[1, 2, 6, 7], { kernel_shape: [1, 1], strides: [3, 5], auto_pad: 'SAME_UPPER' }],
  [[2, 3, 9], { kernel_shape: [4], strides: [2], pads: [2, 1] }],
  [[1, 2, 5, 4, 5], { kernel_shape: [2, 3, 2], strides: [2, 1, 3], pads: [0, 1, 1, 1, 1, 0], ceil_mode: 1 }],
]

export const poolingRows: readonly GradRow[] = [
  ...windows.map(([shape, attributes]) => ({
    ...maxPool(shape, attributes),
    // Windows with gaps between them: onnxruntime finds negative pads, which its float32 kernel refuses.
    float64Only:
      attributes['auto_pad'] !== undefined && `${attributes['kernel_shape'] as number[]}` === '1,1',
  })),
  maxPool(X, { kernel_shape: [3, 3], strides: [2, 2], storage_order: 1 }),
  ...windows.flatMap(([shape, attributes]) =>
    [0, 1].map(count_include_pad => averagePool(shape, { ...attributes, count_include_pad })),
  ),
  ...windows.flatMap(([shape, attributes]) =>
    [1, 2, 3].map((p): GradRow => ({
      op: 'LpPool',
      inputs: [shape],
      attributes: { ...attributes, p },
      dtype: 'float32',
      kinks: [0],
      // A third power bends much within one step.
      tolerance: p === 3 ? 1e-2 : 2e-3,
    })),
  ),
  ...[1, 2, 3].flatMap(p =>
    [[2, 3, 5], X].map((shape): GradRow => ({
      op: 'GlobalLpPool',
      inputs: [shape],
      attributes: { p },
      dtype: 'float32',
      kinks: [0],
    })),
  ),
  {
    op: 'MaxUnpool',
    inputs: [[1, 2, 2, 2], { shape: [1, 2, 2, 2], dtype: 'int64', values: [0, 7, 9, 14, 17, 22, 24, 31] }],
    attributes: { kernel_shape: [2, 2], strides: [2, 2] },
    dtype: 'float32',
  },
  {
    op: 'MaxUnpool',
    inputs: [
      [1, 1, 2, 2],
      { shape: [1, 1, 2, 2], dtype: 'int64', values: [1, 3, 12, 14] },
      constants(1, 1, 5, 5),
    ],
    attributes: { kernel_shape: [2, 2], strides: [2, 2] },
    dtype: 'float32',
  },
  ...[[2, 3, 5], X, [1, 2, 3, 4, 2]].flatMap((shape): GradRow[] => [
    { op: 'GlobalAveragePool', inputs: [shape], dtype: 'float32', delta: 0.5, tolerance: 3e-5 },
    { op: 'GlobalMaxPool', inputs: [shape], dtype: 'float32' },
  ]),
]
