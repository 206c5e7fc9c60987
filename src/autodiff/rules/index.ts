/** All gradient rules, by operator. */

import type { RuleTable } from '../rule.ts'
import { ACTIVATION_RULES } from './activations.ts'
import { ELEMENTWISE_RULES } from './elementwise.ts'
import { INDEXING_RULES } from './indexing.ts'
import { LINALG_RULES } from './linalg.ts'
import { MOVEMENT_RULES } from './movement.ts'
import { REDUCTION_RULES } from './reduction.ts'
import { SOFTMAX_RULES } from './softmax.ts'
import { WINDOW_RULES } from './window.ts'

export const RULES: RuleTable = {
  ...ELEMENTWISE_RULES,
  ...ACTIVATION_RULES,
  ...LINALG_RULES,
  ...MOVEMENT_RULES,
  ...WINDOW_RULES,
  ...REDUCTION_RULES,
  ...SOFTMAX_RULES,
  ...INDEXING_RULES,
}
