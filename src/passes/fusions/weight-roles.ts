/** What weights are at the inputs of operators that stand for several others. */

/** `mask or bias`: a constant if its elements are those of a mask, else learned. */
export type FusedRole = readonly ['parameter' | 'constant' | 'mask or bias', string]

const caches = (first: number): Readonly<Record<number, FusedRole>> => ({
  [first]: ['constant', 'cosines'],
  [first + 1]: ['constant', 'sines'],
})
const weightAndBias = { 1: ['parameter', 'weight'], 2: ['parameter', 'bias'] } as const
const bias = { 1: ['parameter', 'bias'] } as const

/** Operator, with its domain unless it is the default one -> inputs that say what a weight there is. */
export const FUSED_ROLES: Readonly<Record<string, Readonly<Record<number, FusedRole>>>> = {
  SimplifiedLayerNormalization: { 1: ['parameter', 'scale'] },
  RotaryEmbedding: caches(1),
  Attention: { 3: ['mask or bias', 'attention bias'] },
  'com.microsoft.BiasGelu': bias,
  'com.microsoft.FastGelu': bias,
  'com.microsoft.FusedConv': weightAndBias,
  'com.microsoft.FusedGemm': { 0: ['parameter', 'matrix'], ...weightAndBias },
  'com.microsoft.FusedMatMul': { 0: ['parameter', 'matrix'], 1: ['parameter', 'matrix'] },
  'com.microsoft.SkipLayerNormalization': {
    ...{ 1: ['parameter', 'table'], 2: ['parameter', 'scale'] },
    ...{ 3: ['parameter', 'bias'], 4: ['parameter', 'bias'] },
  },
  'com.microsoft.SkipSimplifiedLayerNormalization': {
    ...{ 2: ['parameter', 'scale'], 3: ['parameter', 'bias'] },
  },
  'com.microsoft.EmbedLayerNormalization': {
    ...{ 2: ['parameter', 'table'], 3: ['parameter', 'table'], 4: ['parameter', 'table'] },
    ...{ 5: ['parameter', 'scale'], 6: ['parameter', 'bias'] },
  },
  'com.microsoft.Attention': { ...weightAndBias, 5: ['mask or bias', 'attention bias'] },
  'com.microsoft.MultiHeadAttention': { 3: ['parameter', 'bias'], 5: ['mask or bias', 'attention bias'] },
  'com.microsoft.RotaryEmbedding': caches(2),
}
