/**
 * Operators that stand for several others, defined by them: what ONNX Runtime's optimiser writes, and the standard ones of
 * attention. A training graph has the definition in the place of the node, so that its inner values are computed once for
 * both directions; the model that is written keeps the node.
 */

import type { NodeForms } from '../replace-nodes.ts'
import { activationFusions } from './activations.ts'
import { attentionFusions } from './attention.ts'
import { microsoftAttentionFusions } from './microsoft-attention.ts'
import { normalizationFusions } from './normalization.ts'
import { productFusions } from './products.ts'
import { rotaryFusions } from './rotary.ts'

/** Operator, with its domain unless it is the default one -> its definition. */
export const FUSIONS: NodeForms = {
  ...activationFusions,
  ...normalizationFusions,
  ...productFusions,
  ...attentionFusions,
  ...microsoftAttentionFusions,
  ...rotaryFusions,
}
