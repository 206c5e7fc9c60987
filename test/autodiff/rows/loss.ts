/** Losses: composites with a rule of their own. */

import { sigmoidCrossEntropy, softmaxCrossEntropy } from '../../../src/autodiff/composites.ts'
import { COMPOSITE_LOWERINGS, lowerComposites } from '../../../src/autodiff/lowering/index.ts'
import { writeLoss, type LossSpec } from '../../../src/train/losses.ts'
import type { GradRow, InputSpec } from '../../support/grad-row.ts'

const lower: GradRow['lower'] = graph => lowerComposites(graph, COMPOSITE_LOWERINGS)
const target = (shape: readonly number[]): InputSpec => ({ shape, domain: [0, 1], differentiable: false })

const labels = (shape: readonly number[], values: readonly number[]): InputSpec => ({
  ...{ shape, values, dtype: 'int64', differentiable: false },
})

/** Losses that use operators which no other loss does. */
const written = (spec: LossSpec, shape: readonly number[], t: InputSpec): GradRow => ({
  op: `Loss ${spec.kind}`,
  inputs: [shape, t],
  build: (op, [x, target]) => [writeLoss(op, spec, x!, target!)],
  dtype: 'float32',
  lower,
})

export const lossRows: readonly GradRow[] = [
  ...[
    { shape: [3, 5], axis: 1 },
    { shape: [2, 4, 3], axis: 1 },
    { shape: [2, 3, 4], axis: 2 },
  ].map(({ shape, axis }): GradRow => ({
    op: `SoftmaxCrossEntropy axis ${axis}`,
    inputs: [shape, target(shape)],
    build: (op, [x, t]) => [softmaxCrossEntropy(op, x!, t!, axis)],
    lower,
  })),
  ...['NegativeLogLikelihoodLoss', 'SoftmaxCrossEntropyLoss'].flatMap(op =>
    [
      { reduction: 'mean', weighted: true, ignore_index: 2 },
      { reduction: 'mean', weighted: false },
      { reduction: 'sum', weighted: true },
      { reduction: 'none', weighted: false, ignore_index: -1 },
    ].flatMap(({ weighted, ...attributes }) =>
      [[4], [2, 2]].map((shape): GradRow => ({
        op,
        attributes,
        inputs: [
          [shape[0]!, 3, ...shape.slice(1)],
          { shape, dtype: 'int64', values: [0, 2, attributes.ignore_index ?? 1, 1] },
          ...(weighted ? [{ shape: [3], values: [0.5, 2, 1.5], differentiable: false }] : []),
        ],
        outputs: op === 'SoftmaxCrossEntropyLoss' ? 2 : 1,
        opset: 20,
      })),
    ),
  ),
  {
    op: 'SigmoidCrossEntropy',
    inputs: [[3, 4], target([3, 4])],
    domain: [-4, 4],
    build: (op, [x, t]) => [sigmoidCrossEntropy(op, x!, t!)],
    dtype: 'float32',
    lower,
  },
  written({ kind: 'focal', gamma: 1.5, classWeights: [0.5, 2, 1] }, [4, 3], labels([4], [2, 0, -100, 1])),
  written({ kind: 'causal-lm' }, [2, 4, 3], labels([2, 4], [0, 1, 2, -100, 2, 2, 0, 1])),
  written({ kind: 'binary-focal', posWeight: [2, 0.5, 1] }, [4, 3], target([4, 3])),
]
