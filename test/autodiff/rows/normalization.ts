/** Normalizations. */

import { batchNormTrain } from '../../../src/autodiff/composites.ts'
import { COMPOSITE_LOWERINGS, lowerComposites } from '../../../src/autodiff/lowering/index.ts'
import { float } from '../../../src/ir/attribute.ts'
import type { Graph } from '../../../src/ir/graph.ts'
import type { Shape } from '../../../src/tensor/shape.ts'
import type { GradRow, InputSpec } from '../../support/grad-row.ts'

const lower = (graph: Graph) => lowerComposites(graph, COMPOSITE_LOWERINGS)
const statistic = (shape: Shape, domain: [number, number]): InputSpec => ({ shape, domain })

const given = (shape: Shape, epsilon?: number): GradRow => {
  const channels = [shape[1]!]
  return {
    op: 'BatchNormalization',
    inputs: [shape, channels, channels, statistic(channels, [-1, 1]), statistic(channels, [0.3, 3])],
    attributes: epsilon === undefined ? {} : { epsilon: float(epsilon) },
  }
}

const training = (shape: Shape, epsilon: number): GradRow => ({
  op: `BatchNormTrain epsilon ${epsilon}`,
  inputs: [shape, [shape[1]!], [shape[1]!]],
  build: (op, [x, scale, bias]) => [batchNormTrain(op, { x: x!, scale: scale!, bias: bias! }, epsilon).y],
  lower,
})

/** Mean and InvStdDev of onnxruntime's float64 LayerNormalization are float32. */
const layer = (inputs: Shape[], attributes: GradRow['attributes'] = {}): GradRow => ({
  op: 'LayerNormalization',
  inputs,
  attributes,
  lower,
  tolerance: 1e-5,
})

export const normalizationRows: readonly GradRow[] = [
  given([4, 3]),
  given([2, 3, 5], 0.1),
  given([2, 3, 4, 3]),
  given([1, 2, 3, 2, 2]),
  training([5, 3], 1e-5),
  training([2, 3, 5], 0.1),
  training([2, 3, 4, 3], 1e-3),
  training([1, 2, 3, 2, 2], 1e-5),
  layer([[2, 3, 5], [5], [5]]),
  layer([[2, 3, 5], [5]], { epsilon: float(0.1) }),
  layer(
    [
      [2, 3, 5],
      [3, 5],
      [3, 5],
    ],
    { axis: 1 },
  ),
  layer(
    [
      [2, 3, 5],
      [3, 1],
      [3, 1],
    ],
    { axis: -2 },
  ),
  layer(
    [
      [2, 3],
      [2, 3],
      [2, 3],
    ],
    { axis: 0 },
  ),
  { op: 'RMSNormalization', inputs: [[2, 3, 5], [5]], opset: 23 },
  {
    op: 'RMSNormalization',
    inputs: [
      [2, 3, 4],
      [3, 4],
    ],
    attributes: { axis: 1, epsilon: float(0.1) },
    opset: 23,
  },
  { op: 'InstanceNormalization', inputs: [[2, 3, 5], [3], [3]], dtype: 'float32' },
  {
    op: 'InstanceNormalization',
    inputs: [[2, 3, 4, 2], [3], [3]],
    attributes: { epsilon: float(0.1) },
    dtype: 'float32',
  },
  {
    op: 'GroupNormalization',
    inputs: [[2, 6, 3], [6], [6]],
    attributes: { num_groups: 2 },
    opset: 21,
    dtype: 'float32',
  },
  ...[1, 2].flatMap(p =>
    [-1, 1].map((axis): GradRow => ({
      op: 'LpNormalization',
      inputs: [[2, 3, 4]],
      attributes: { p, axis },
      kinks: [0],
    })),
  ),
  { op: 'MeanVarianceNormalization', inputs: [[2, 3, 4, 2]], dtype: 'float32' },
  { op: 'MeanVarianceNormalization', inputs: [[2, 3, 5]], attributes: { axes: [0, -1] }, dtype: 'float32' },
  // onnxruntime takes odd sizes only.
  ...[1, 3, 9].map((size): GradRow => ({
    op: 'LRN',
    inputs: [[2, 5, 3, 2]],
    attributes: { size, alpha: float(0.9), beta: float(0.6), bias: float(1.5) },
    dtype: 'float32',
  })),
  { op: 'GroupNormalization', inputs: [[2, 6, 3, 2], [3], [3]], attributes: { num_groups: 3 }, opset: 18 },
]
