/** What operators that are written out refuse, in their words. */

import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { Builder, type Attributes } from '../../src/ir/builder.ts'
import { Value } from '../../src/ir/value.ts'
import type { Shape } from '../../src/tensor/shape.ts'
import { EXPANSIONS } from '../../src/ops/expansions/index.ts'
import { errorOf } from '../support/errors.ts'

type Name = keyof typeof EXPANSIONS

const REFUSED: readonly (readonly [Name, Attributes, Shape[], string])[] = [
  [
    'Einsum',
    { equation: 'ij->k' },
    [[2, 3]],
    'has "k" in its output, which is no label of an input or is there twice',
  ],
  [
    'Einsum',
    { equation: 'i->ii' },
    [[2]],
    'has "i" in its output, which is no label of an input or is there twice',
  ],
  ['Einsum', { equation: 'ij,jk' }, [[2, 3]], 'has 2 terms for 1 inputs'],
  ['Einsum', { equation: 'ij' }, [[2, 3, 4]], 'has 2 letters for input 0 of rank 3'],
  [
    'Einsum',
    { equation: 'i1' },
    [[2, 3]],
    'should be terms of letters with at most one ellipsis each, such as "...ij,jk->...ik"',
  ],
  [
    'Einsum',
    { equation: 'ij,jk' },
    [
      [2, 3],
      [4, 5],
    ],
    'label "j" has 3 and 4 elements',
  ],
  [
    'GridSample',
    { mode: 'lanczos' },
    [
      [1, 1, 2, 2],
      [1, 2, 2, 2],
    ],
    'attribute mode should be one of linear, bilinear, nearest, cubic, bicubic, found lanczos',
  ],
  [
    'GridSample',
    { padding_mode: 'wrap' },
    [
      [1, 1, 2, 2],
      [1, 2, 2, 2],
    ],
    'attribute padding_mode should be one of zeros, border, reflection, found wrap',
  ],
  [
    'RoiAlign',
    { sampling_ratio: 0 },
    [[1, 1, 2, 2], [1, 4], [1]],
    'sampling_ratio is 0: the number of samples depends on the data, expected a positive one',
  ],
  [
    'ReverseSequence',
    { time_axis: 2 },
    [[2, 2, 2], [2]],
    'time_axis and batch_axis should be 0 and 1, found 2 and 1',
  ],
  [
    'Compress',
    { axis: 0 },
    [[2, 2], [2]],
    'input 1 (%"x1"<float32,[2]>) should be constant, found a computed value',
  ],
  [
    'SoftmaxCrossEntropyLoss',
    { reduction: 'max' },
    [[2, 3], [2]],
    'attribute reduction should be one of none, sum, mean, found max',
  ],
]

for (const [name, attributes, shapes, message] of REFUSED) {
  test(`${name} ${JSON.stringify(attributes)} is refused`, async () => {
    const op = new Builder()
    const inputs = shapes.map((shape, i) => Value.typed(`x${i}`, 'float32', shape))
    const node = op.one(name, inputs, { shape: [] }, attributes).producer!
    const error = await errorOf(() => EXPANSIONS[name](op, node))
    assert.ok(error.message.endsWith(message), error.message)
    assert.ok(error.message.startsWith(node.label), error.message)
  })
}

test.run()
