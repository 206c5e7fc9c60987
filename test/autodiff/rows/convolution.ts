/** Conv and ConvTranspose. */

import { COMPOSITE_LOWERINGS, lowerComposites } from '../../../src/autodiff/lowering/index.ts'
import type { Shape } from '../../../src/tensor/shape.ts'
import type { GradRow } from '../../support/grad-row.ts'

/** onnxruntime has no float64 convolution. A convolution is linear in each input, so that a large step is exact. */
const settings = {
  dtype: 'float32',
  delta: 0.5,
  tolerance: 3e-5,
  lower: (graph: Parameters<typeof lowerComposites>[0]) => lowerComposites(graph, COMPOSITE_LOWERINGS),
} as const

const conv = (inputs: Shape[], attributes: GradRow['attributes'] = {}): GradRow => ({
  op: 'Conv',
  inputs,
  attributes,
  ...settings,
})

const transposedConv = (inputs: Shape[], attributes: GradRow['attributes'] = {}): GradRow => ({
  ...conv(inputs, attributes),
  op: 'ConvTranspose',
})

const X = [2, 4, 7, 6]

export const convolutionRows: readonly GradRow[] = [
  conv([X, [6, 4, 3, 3], [6]]),
  conv([X, [6, 4, 3, 3]], { pads: [1, 1, 1, 1] }),
  conv([X, [6, 4, 1, 1], [6]], { strides: [2, 2] }),
  conv([X, [6, 2, 3, 2], [6]], { group: 2, strides: [2, 1], pads: [1, 0, 2, 1] }),
  conv([X, [8, 1, 3, 3]], { group: 4, pads: [1, 1, 1, 1], strides: [2, 2] }),
  conv([X, [4, 4, 2, 3]], { dilations: [3, 2], pads: [0, 2, 1, 0], strides: [2, 3] }),
  conv([X, [4, 4, 3, 3]], { pads: [0, 1, 3, 2], strides: [3, 2] }),
  conv([X, [4, 4, 5, 2]], { auto_pad: 'SAME_UPPER', strides: [2, 3] }),
  conv([X, [4, 4, 2, 4]], { auto_pad: 'SAME_LOWER', strides: [2, 3] }),
  conv([X, [4, 4, 2, 2]], { auto_pad: 'SAME_LOWER', strides: [3, 4] }),
  conv([X, [4, 4, 3, 2]], { auto_pad: 'VALID', strides: [3, 3] }),
  conv([X, [4, 4, 1, 1]], { auto_pad: 'SAME_LOWER', strides: [3, 4] }),
  conv([X, [4, 4, 1, 1]], { auto_pad: 'SAME_UPPER', strides: [5, 4] }),
  conv([[2, 4, 9], [6, 2, 3], [6]], { group: 2, dilations: [2], pads: [3, 1], strides: [2] }),
  conv([[1, 4, 5, 4, 4], [4, 2, 3, 2, 1], [4]], { group: 2, strides: [2, 1, 2], pads: [1, 0, 0, 0, 1, 0] }),
  transposedConv([[2, 4, 4, 3], [4, 3, 3, 3], [3]]),
  transposedConv(
    [
      [2, 4, 4, 3],
      [4, 3, 3, 2],
    ],
    { group: 2, strides: [2, 3], pads: [1, 0, 0, 1], output_padding: [1, 2] },
  ),
  transposedConv(
    [
      [2, 4, 4, 3],
      [4, 3, 3, 2],
    ],
    { dilations: [3, 2], strides: [2, 1], output_padding: [1, 0] },
  ),
  ...['NOTSET', 'SAME_UPPER', 'SAME_LOWER'].flatMap(auto_pad => [
    transposedConv(
      [
        [1, 2, 3, 3],
        [2, 2, 4, 3],
      ],
      { auto_pad, strides: [2, 2], output_shape: [7, 6] },
    ),
    transposedConv(
      [
        [1, 2, 3, 3],
        [2, 2, 2, 3],
      ],
      { auto_pad, strides: [3, 2], output_shape: [9, 8] },
    ),
  ]),
  transposedConv(
    [
      [1, 2, 3, 3],
      [2, 2, 2, 3],
    ],
    { auto_pad: 'SAME_UPPER', strides: [3, 2] },
  ),
  transposedConv(
    [
      [1, 2, 3, 3],
      [2, 2, 2, 3],
    ],
    { auto_pad: 'VALID', strides: [3, 2] },
  ),
  transposedConv([[2, 4, 5], [4, 2, 3], [4]], { group: 2, strides: [2], pads: [2, 0] }),
  transposedConv(
    [
      [1, 2, 3, 2, 3],
      [2, 1, 2, 2, 3],
    ],
    { group: 2, strides: [1, 2, 2], pads: [0, 1, 0, 1, 0, 1] },
  ),
]
