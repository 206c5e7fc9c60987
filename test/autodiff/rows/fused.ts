/** Operators that stand for several others: ONNX Runtime's kernels against the gradients of their definitions. */

import { COMPOSITE_LOWERINGS, lowerComposites } from '../../../src/autodiff/lowering/index.ts'
import { float, floats } from '../../../src/ir/attribute.ts'
import type { Attributes } from '../../../src/ir/builder.ts'
import type { Graph } from '../../../src/ir/graph.ts'
import type { Shape } from '../../../src/tensor/shape.ts'
import type { GradRow, InputSpec } from '../../support/grad-row.ts'

type Input = Shape | InputSpec | null

const lower = (graph: Graph) => lowerComposites(graph, COMPOSITE_LOWERINGS)

const microsoft = (op: string, inputs: readonly Input[], attributes: Attributes = {}): GradRow => ({
  ...{ op, inputs, attributes, domainName: 'com.microsoft', dtype: 'float32', opset: 18 },
  ...{ lower, domain: [-1, 1], delta: 5e-3 },
})

const whole = (dtype: 'int32' | 'int64', shape: Shape, ...values: number[]): InputSpec => ({
  ...{ shape, dtype, values },
})
const fixed = (shape: Shape): InputSpec => ({ shape, differentiable: false })

const convolution: readonly Shape[] = [[2, 3, 5, 4], [4, 3, 3, 3], [4]]
const activation = (name: string, ...parameters: number[]): Attributes => ({
  ...{ activation: name, pads: [1, 1, 1, 1] },
  ...(parameters.length > 0 ? { activation_params: floats(parameters) } : {}),
})

const activationRows: readonly GradRow[] = [
  microsoft('Gelu', [[3, 4]]),
  microsoft('BiasGelu', [[3, 4], [4]]),
  microsoft('FastGelu', [[3, 4]]),
  microsoft('FastGelu', [[3, 4], [4]]),
  microsoft('QuickGelu', [[3, 4]]),
  microsoft('QuickGelu', [[3, 4]], { alpha: float(1.2) }),
]

const productRows: readonly GradRow[] = [
  microsoft('FusedMatMul', [
    [2, 3, 4],
    [2, 4, 5],
  ]),
  microsoft(
    'FusedMatMul',
    [
      [2, 4, 3],
      [5, 4],
    ],
    { transA: 1, transB: 1, alpha: float(0.3) },
  ),
  microsoft('FusedGemm', [[2, 3], [4, 3], [4]], { transB: 1, activation: 'Tanh', alpha: float(0.5) }),
  microsoft(
    'FusedGemm',
    [
      [2, 3],
      [3, 4],
    ],
    { activation: 'LeakyRelu', activation_alpha: float(0.3) },
  ),
  microsoft('FusedConv', convolution, activation('Tanh')),
  microsoft('FusedConv', [...convolution, [2, 4, 5, 4]], activation('Sigmoid')),
  microsoft('FusedConv', convolution.slice(0, 2), { group: 1, strides: [2, 1] }),
  microsoft('FusedConv', convolution, activation('LeakyRelu', 0.3)),
  microsoft('FusedConv', convolution, activation('HardSigmoid', 0.01, 0.5)),
  microsoft('FusedConv', convolution, activation('Clip', -20, 20)),
]

const normalizationRows: readonly GradRow[] = [
  { ...microsoft('SimplifiedLayerNormalization', [[2, 3, 4], [4]]), domainName: '' },
  {
    ...microsoft('SimplifiedLayerNormalization', [[2, 3, 4], [4]], { axis: -1, epsilon: float(0.1) }),
    domainName: '',
  },
  microsoft('SkipLayerNormalization', [[2, 3, 4], [2, 3, 4], [4], [4]]),
  microsoft('SkipLayerNormalization', [[2, 3, 4], [2, 3, 4], [4], [4], [4]], { epsilon: float(1e-3) }),
  microsoft('SkipLayerNormalization', [[2, 3, 4], [3, 4], [4], null, [4]]),
  microsoft('SkipSimplifiedLayerNormalization', [[2, 3, 4], [2, 3, 4], [4]]),
  microsoft('SkipSimplifiedLayerNormalization', [[2, 3, 4], [2, 3, 4], [4], [4]], { epsilon: float(1e-3) }),
  {
    ...microsoft(
      'EmbedLayerNormalization',
      [
        whole('int32', [2, 3], 0, 2, 4, 2, 1, 2),
        whole('int32', [2, 3], 0, 1, 0, 1, 1, 0),
        ...[[5, 4], [6, 4], [2, 4], [4], [4]],
      ],
      { epsilon: float(1e-3) },
    ),
    outputs: 2,
  },
]

/** Q, K, V of one width: B 2, S 3, L 4, 2 heads of 4. */
const three = [
  [2, 3, 8],
  [2, 4, 8],
  [2, 4, 8],
] as const
const keyMask = whole('int32', [2, 4], 1, 1, 1, 0, 1, 0, 1, 1)
const selfMask = whole('int32', [2, 3], 1, 1, 0, 1, 0, 1)

const microsoftAttentionRows: readonly GradRow[] = [
  microsoft('Attention', [[2, 3, 5], [5, 24], [24]], { num_heads: 2 }),
  microsoft('Attention', [[2, 3, 5], [5, 24], [24], selfMask], { num_heads: 4, unidirectional: 1 }),
  microsoft('Attention', [[2, 3, 5], [5, 24], [24], whole('int32', [2], 3, 2)], { num_heads: 2 }),
  microsoft('Attention', [[2, 3, 5], [5, 20], [20]], {
    ...{ num_heads: 2, qkv_hidden_sizes: [8, 8, 4], scale: float(0.7) },
  }),
  microsoft('Attention', [[2, 3, 5], [5, 24], [24], null, null, [2, 2, 3, 3]], { num_heads: 2 }),
  microsoft('MultiHeadAttention', three, { num_heads: 2 }),
  microsoft('MultiHeadAttention', [...three, [24], keyMask, [1, 2, 3, 4]], {
    ...{ num_heads: 2, scale: float(0.7) },
  }),
  microsoft('MultiHeadAttention', [three[0], [2, 2, 4, 4], [2, 2, 4, 4]], { num_heads: 2 }),
  microsoft('MultiHeadAttention', [three[0], three[0], three[0]], { num_heads: 2, unidirectional: 1 }),
]

const rotary: Attributes = { num_heads: 2 }

const rotaryRows: readonly GradRow[] = [
  microsoft(
    'RotaryEmbedding',
    [[2, 3, 8], whole('int64', [2, 3], 0, 1, 2, 3, 1, 4), fixed([6, 2]), fixed([6, 2])],
    {},
  ),
  microsoft('RotaryEmbedding', [[2, 2, 3, 4], whole('int64', [1], 2), fixed([6, 2]), fixed([6, 2])], {
    interleaved: 1,
  }),
  microsoft('RotaryEmbedding', [[2, 3, 16], whole('int64', [1], 0), fixed([6, 2]), fixed([6, 2])], {
    ...rotary,
    rotary_embedding_dim: 4,
  }),
  ...[0, 1].flatMap(interleaved => [
    standard('RotaryEmbedding', [[2, 2, 3, 4], fixed([2, 3, 2]), fixed([2, 3, 2])], { interleaved }),
    standard(
      'RotaryEmbedding',
      [[2, 3, 16], fixed([6, 2]), fixed([6, 2]), whole('int64', [2, 3], 0, 1, 2, 3, 1, 4)],
      { ...rotary, interleaved, rotary_embedding_dim: 4 },
    ),
  ]),
]

function standard(op: string, inputs: readonly Input[], attributes: Attributes = {}, outputs = 1): GradRow {
  return { op, inputs, attributes, outputs, dtype: 'float32', opset: 23, domain: [-1, 1] }
}

const four = [
  [2, 4, 3, 5],
  [2, 2, 4, 5],
  [2, 2, 4, 6],
] as const
const truth = (shape: Shape, ...values: number[]): InputSpec => ({ shape, dtype: 'bool', values })

const attentionRows: readonly GradRow[] = [
  standard('Attention', three, { q_num_heads: 2, kv_num_heads: 2 }),
  standard('Attention', four),
  standard(
    'Attention',
    [
      [2, 3, 8],
      [2, 4, 4],
      [2, 4, 4],
    ],
    { q_num_heads: 4, kv_num_heads: 2, scale: float(0.7) },
  ),
  standard('Attention', [...four, [3, 4]]),
  standard('Attention', [...four, [2, 4, 3, 4]], { softcap: float(0.8) }),
  standard('Attention', [...four, truth([3, 4], 1, 1, 0, 1, 0, 1, 1, 1, 1, 0, 0, 1)]),
  standard('Attention', [[2, 4, 4, 5], four[1], four[2]], { is_causal: 1 }),
  standard('Attention', [...four, null, [2, 2, 2, 5], [2, 2, 2, 6]], {}, 3),
  standard('Attention', [...four, null, [2, 2, 2, 5], [2, 2, 2, 6]], { is_causal: 1 }, 3),
]

export const fusedRows: readonly GradRow[] = [
  ...activationRows,
  ...productRows,
  ...normalizationRows,
  ...microsoftAttentionRows,
  ...rotaryRows,
  ...attentionRows,
]
